"""Paired outcomes: the same examples, answered twice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

# Signs held in memory at one time: 16 MB.
_BLOCK = 2_000_000


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

    Graded scores count as lost where they fell and as gained where they rose; of those that stayed
    the same, zeros count as wrong both times.

    Args:
        first: One truth value, or one score from 0 to 1, an example.
        second: The same examples in the same order.

    Raises:
        ValueError: The lengths differ.

    Example:
        >>> count_flips([True, True, False], [True, False, False])
        Flips(both=1, lost=1, gained=0, neither=1)
        >>> count_flips([0.5, 0.2], [0.4, 0.9])
        Flips(both=0, lost=1, gained=1, neither=0)
    """
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if before.shape != after.shape or before.ndim != 1:
        raise ValueError(
            f"Paired outcomes need two lists of one length; got {before.shape} and {after.shape}."
        )
    same = before == after
    return Flips(
        both=int(np.sum(same & (before > 0))),
        lost=int(np.sum(before > after)),
        gained=int(np.sum(before < after)),
        neither=int(np.sum(same & (before == 0))),
    )


def is_binary(*columns: npt.ArrayLike) -> bool:
    """Say whether every score is 0 or 1.

    Example:
        >>> is_binary([True, False], [1.0, 0.0]), is_binary([0.5])
        (True, False)
    """
    return all(bool(np.isin(np.asarray(each, dtype=np.float64), (0, 1)).all()) for each in columns)


def sign_flip_test(
    differences: npt.ArrayLike, *, rng: np.random.Generator, n_resamples: int = 10_000
) -> float:
    r"""Return the two-sided p-value of the paired randomisation test of a mean difference.

    If nothing changed, each difference is as likely to have the other sign:

    .. math:: p = \frac{1 + \#\{|\sum_i s_i d_i| \ge |\sum_i d_i|\}}{1 + \text{resamples}},
       \quad s_i = \pm 1

    On differences of right and wrong it is McNemar's test, up to the randomness of the draws; it
    is never below 1 / (resamples + 1). It takes the pairs for independent.

    Args:
        differences: One an example; examples without a difference change nothing.
        rng: The source of randomness.
        n_resamples: Draws of all signs.

    Source: Fisher, The Design of Experiments (1935), §21.

    Example:
        >>> sign_flip_test([0.5] * 40, rng=np.random.default_rng(0), n_resamples=999)
        0.001
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[values != 0]
    if not len(values):
        return 1.0
    seen = abs(float(values.sum()))
    # Sums of the same numbers in another order may differ by rounding: those count as equal.
    least = seen - 1e-9 * float(np.abs(values).sum())
    n_block = max(1, _BLOCK // len(values))
    n_extreme = 0
    for start in range(0, n_resamples, n_block):
        size = (min(n_block, n_resamples - start), len(values))
        signs = 2.0 * rng.integers(0, 2, size=size, dtype=np.int8) - 1.0
        n_extreme += int(np.sum(np.abs(signs @ values) >= least))
    return (1 + n_extreme) / (1 + n_resamples)


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
