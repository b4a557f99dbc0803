"""Paired binary outcomes: the same examples, answered twice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr


class Flips(NamedTuple):
    """The four counts of examples answered twice, as right or wrong.

    Example:
        >>> flips = Flips(both=59, lost=6, gained=16, neither=80)
        >>> flips.n, round(flips.difference, 4)
        (161, -0.0621)
    """

    both: int
    """Right the first and the second time."""
    lost: int
    """Right the first time only (1→0)."""
    gained: int
    """Right the second time only (0→1)."""
    neither: int
    """Wrong both times."""

    @property
    def n(self) -> int:
        """All examples."""
        return self.both + self.lost + self.gained + self.neither

    @property
    def difference(self) -> float:
        """First accuracy minus second accuracy, a fraction."""
        return (self.lost - self.gained) / self.n


def count_flips(first: npt.ArrayLike, second: npt.ArrayLike) -> Flips:
    """Count how right and wrong answers changed from the first time to the second.

    Args:
        first: One truth value an example.
        second: The same examples in the same order.

    Raises:
        ValueError: The lengths differ.

    Example:
        >>> count_flips([True, True, False], [True, False, False])
        Flips(both=1, lost=1, gained=0, neither=1)
    """
    before, after = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if before.shape != after.shape or before.ndim != 1:
        raise ValueError(
            f"Paired outcomes need two lists of one length; got {before.shape} and {after.shape}."
        )
    return Flips(
        both=int(np.sum(before & after)),
        lost=int(np.sum(before & ~after)),
        gained=int(np.sum(~before & after)),
        neither=int(np.sum(~before & ~after)),
    )


def mcnemar_exact(flips: Flips) -> float:
    r"""Return the two-sided p-value of McNemar's exact conditional test.

    .. math:: p = \min(1, 2 P(X \le \min(b, c))), \quad X \sim \mathrm{Bin}(b + c, 1/2)

    with b lost and c gained. Without any flip there is no evidence of a change and p is 1.
    It takes the pairs for independent.

    Source: McNemar, Psychometrika 12 (1947), 153–157, in the exact form.

    Example:
        >>> round(mcnemar_exact(Flips(both=59, lost=6, gained=16, neither=80)), 4)
        0.0525
    """
    rarer, n_flipped = min(flips.lost, flips.gained), flips.lost + flips.gained
    # bdtr is the binomial distribution function; scipy.stats would take a second to load.
    return min(1.0, 2 * float(bdtr(rarer, n_flipped, 0.5)))
