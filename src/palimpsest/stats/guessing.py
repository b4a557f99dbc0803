r"""Accuracies and flips without the answers that were only guessed.

Let a model know the answer to a share K of the items and guess the others, right with chance c.
Then its accuracy is :math:`K + (1 - K) c`, so

.. math:: K = \frac{a - c}{1 - c}

Of items that neither of two models knows, a share c(1 − c) flips one way, and as many the other,
by luck alone; a share (1 − c)² is wrong both times, which shows how many such items there are.
With the observed shares n₁₀ (right, then wrong), n₀₁ and n₀₀, the shares of items that were really
forgotten and really learnt are

.. math::
   \text{lost} = \frac{n_{10} - n_{00} \, c / (1 - c)}{1 - c}, \qquad
   \text{gained} = \frac{n_{01} - n_{00} \, c / (1 - c)}{1 - c}

and lost − gained is the difference of the two K. This takes the two models' guesses for
independent; where both guess by the same habits, fewer flips are luck than it takes off. Counting
flips adjusted for chance follows Harmon et al., arXiv:2510.17776.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palimpsest.stats.bootstrap import Array, bootstrap_means, percentile_interval
from palimpsest.stats.proportions import Interval
from palimpsest.stats.recovery import N_PSEUDO


class Adjusted(NamedTuple):
    """Base against tuned without what guessing explains; fractions of all items."""

    base: float
    """Share of the items that the base model knows."""
    tuned: float
    """The same for the tuned model."""
    lost: float
    """Share known before and not after."""
    gained: float
    """Share known after and not before."""

    @property
    def forgetting(self) -> float:
        """The share known before minus the share known after."""
        return self.base - self.tuned


def adjust_for_guessing(
    base: npt.ArrayLike, tuned: npt.ArrayLike, chances: npt.ArrayLike
) -> Adjusted:
    """Return what is left of accuracies and flips without guesses.

    The figures are unbiased, and so may leave the range from 0 to 1 where few items are at hand.

    Args:
        base: Right or wrong for each item.
        tuned: The same items for the tuned model.
        chances: The chance to guess each item right, below 1; or one for all.

    Raises:
        ValueError: A chance that is not at least 0 and below 1.

    Example:
        >>> found = adjust_for_guessing([1, 1, 1, 0], [1, 0, 0, 0], 0.25)
        >>> round(found.base, 3), round(found.tuned, 3), round(found.lost - found.gained, 3)
        (0.667, 0.0, 0.667)
    """
    first, second = np.asarray(base, dtype=np.float64), np.asarray(tuned, dtype=np.float64)
    chance = _checked(chances, len(first))
    luck = (1 - first) * (1 - second) * chance / (1 - chance)
    return Adjusted(
        base=float(np.mean((first - chance) / (1 - chance))),
        tuned=float(np.mean((second - chance) / (1 - chance))),
        lost=float(np.mean((first * (1 - second) - luck) / (1 - chance))),
        gained=float(np.mean(((1 - first) * second - luck) / (1 - chance))),
    )


def adjusted_forgetting_interval(
    base: npt.ArrayLike,
    tuned: npt.ArrayLike,
    chances: npt.ArrayLike,
    clusters: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
) -> Interval:
    """Return the clustered bootstrap interval of the adjusted forgetting, at 95 %.

    The first three arguments are those of :func:`adjust_for_guessing`; the others as in
    :func:`palimpsest.stats.recovery.estimate_forgetting`.
    """
    columns = np.column_stack([base, tuned]).astype(np.float64)
    weights = 1 / (1 - _checked(chances, len(columns)))
    largest = float(weights.max())
    means = bootstrap_means(
        columns * (weights / largest)[:, None],
        clusters,
        rng=rng,
        n_resamples=n_resamples,
        n_pseudo=N_PSEUDO,
    )
    return percentile_interval(largest * (means[:, 0] - means[:, 1]))


def _checked(chances: npt.ArrayLike, n: int) -> Array:
    chance = np.broadcast_to(np.asarray(chances, dtype=np.float64), (n,))
    if np.any(chance < 0) or np.any(chance >= 1):
        raise ValueError(f"A chance must be at least 0 and below 1; got {chance.max():g}.")
    return chance
