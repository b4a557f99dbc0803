r"""Partial pooling: what each of many cells says once the others are heard as well.

Of :math:`n` examples of a cell, answered twice, :math:`l` are lost (right the first time only), and
:math:`g` of the others are gained:

.. math::
   l \sim \mathrm{Bin}(n, λ), \quad g \sim \mathrm{Bin}(n - l, γ), \qquad
   λ \sim \mathrm{Beta}(μκ, (1 - μ)κ), \quad γ \sim \mathrm{Beta}(μ'κ', (1 - μ')κ')

The fall is :math:`λ - γ(1 - λ)`. Cells are draws from one population, of which little is known
beforehand. Its mean :math:`μ` is uniform; it is no more piled up at 0 or 1 than Jeffreys' prior,
:math:`\min(μ, 1 - μ) κ \ge 1/2`, as otherwise cells without a flip would make it certain that none
can flip; and its standard deviation is uniform from 0 to the largest that this allows. For cells
that are much alike that is the prior of Gelman et al., uniform on :math:`κ^{-1/2}`.

Given :math:`(μ, κ)` the posterior of each share is a Beta distribution, so these two are all there
is to integrate: by Gauss–Legendre nodes in the box around the peak that holds all of the mass. The
two stages share no parameter, so their posteriors are independent.

The intervals hold their truths in the mean of cells that are drawn from the population; a cell that
is unlike all others is drawn towards them, and its own interval may miss.

Source: Gelman et al., Bayesian Data Analysis (2013), §5.3; Gelman, Bayesian Analysis 1 (2006),
515–534, on uniform priors of hierarchical standard deviations; the two stages are the generalised
Dirichlet distribution of Connor and Mosimann, JASA 64 (1969), 194–206.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaln, expit, roots_legendre

from palimpsest.stats.bootstrap import Array
from palimpsest.stats.proportions import Interval

LEAST_CELLS = 3
"""Fewer tell nothing of a population."""

_N_NODES = 16
"""Nodes for the mean and as many for the spread; tests hold what they cost in accuracy."""

_DEEPEST = 16.0
"""Log density below its peak that is left out."""

_WIDEST = 14.0
"""Log odds of the population's mean that are looked at, either way."""

_N_POINTS = 120
"""Points of a share at which its distribution is tabulated."""


class PooledFigure(NamedTuple):
    """A cell's figure, drawn towards those of the others as far as they are alike."""

    mean: float
    """Of its posterior."""
    interval: Interval
    """Of 95 % of its posterior, as much of it on either side."""


def pooled_shares(successes: Sequence[int], trials: Sequence[int]) -> list[PooledFigure]:
    """Return the share of successes in each cell, partially pooled.

    Args:
        successes: Of each cell.
        trials: Of each cell; none is allowed.

    Raises:
        ValueError: There are fewer than :data:`LEAST_CELLS` cells, or more successes than trials.

    Example:
        >>> found = pooled_shares([2, 3, 2, 1, 9], [10] * 5)
        >>> [round(one.mean, 2) for one in found]
        [0.25, 0.32, 0.25, 0.18, 0.74]
    """
    table = _table(successes, trials)
    population = _Population.of(table)
    return [
        PooledFigure(share.mean, share.quantiles())
        for share in map(population.share, *table.T.tolist())
    ]


def pooled_falls(
    n_lost: Sequence[int], n_gained: Sequence[int], n: Sequence[int]
) -> list[PooledFigure]:
    """Return the fall of accuracy in each cell, partially pooled.

    Args:
        n_lost: Examples right the first time only, of each cell.
        n_gained: Examples right the second time only.
        n: All examples.

    Raises:
        ValueError: As for :func:`pooled_shares`.

    Example:
        >>> found = pooled_falls([1, 1, 1, 2, 9], [1, 0, 0, 1, 0], [30] * 5)
        >>> [round(one.mean, 2) for one in found]
        [0.03, 0.04, 0.04, 0.05, 0.23]
    """
    cells = list(zip(n_lost, n_gained, n, strict=True))
    losing = _Population.of(_table(n_lost, n))
    gaining = _Population.of(_table(n_gained, np.subtract(n, n_lost)))
    known: dict[tuple[int, int, int], PooledFigure] = {}
    for lost, gained, all_ in cells:
        if (lost, gained, all_) not in known:
            fall = _fall(losing.share(lost, all_), gaining.share(gained, all_ - lost))
            known[lost, gained, all_] = fall
    return [known[cell] for cell in cells]


def _table(successes: Sequence[int] | Array, trials: Sequence[int] | Array) -> Array:
    table = np.column_stack([successes, trials]).astype(np.float64)
    if len(table) < LEAST_CELLS or (table < 0).any() or (table[:, 0] > table[:, 1]).any():
        raise ValueError(
            f"Pooling needs {LEAST_CELLS} cells or more, with 0 ≤ successes ≤ trials; got "
            f"{table.astype(int).tolist()}."
        )
    return table


class _Share(NamedTuple):
    """The posterior of a cell's share, tabulated."""

    mean: float
    points: Array
    below: Array
    """Probability of no more than each point."""

    def at_most(self, value: Array) -> Array:
        """Return the probability of no more than each value."""
        found: Array = np.interp(value, self.points, self.below, left=0.0, right=1.0)
        return found

    def quantiles(self) -> Interval:
        """Return what holds 95 % of it."""
        low, high = np.interp((0.025, 0.975), self.below, self.points)
        return Interval(float(low), float(high))


class _Population(NamedTuple):
    """What the counts of all cells say of the population that they are drawn from."""

    a: Array
    """First parameter of the Beta distribution at each node."""
    b: Array
    weights: Array
    """Posterior probability of each node."""

    @classmethod
    def of(cls, table: Array) -> _Population:
        """Integrate over mean and spread, in ever closer boxes around the peak."""
        box = np.array([[-_WIDEST, _WIDEST], [0.0, 1.0]])
        for _ in range(4):
            odds, spread, log_density = _density(table, box, 32)
            inside = log_density > log_density.max() - _DEEPEST
            step = np.diff(box, axis=1)[:, 0] / 31
            for axis, values in enumerate((odds[inside], spread[inside])):
                low, high = box[axis]
                box[axis] = (
                    max(low, values.min() - step[axis]),
                    min(high, values.max() + step[axis]),
                )
        odds, spread, log_density = _density(table, box, _N_NODES)
        weights = np.exp(log_density - log_density.max())
        weights /= weights.sum()
        kept = weights > 1e-7
        a, b = _parameters(odds[kept], spread[kept])
        return cls(a, b, weights[kept] / weights[kept].sum())

    def share(self, successes: float, trials: float) -> _Share:
        """Return the posterior of a cell's share."""
        a, b = self.a + successes, self.b + trials - successes
        means = a / (a + b)
        mean = float(self.weights @ means)
        variance = means * (1 - means) / (a + b + 1) + (means - mean) ** 2
        reach = 12 * float(np.sqrt(self.weights @ variance))
        tails = np.geomspace(1e-12, 0.5, _N_POINTS // 4)
        middle = np.linspace(max(0.0, mean - reach), min(1.0, mean + reach), _N_POINTS // 2)
        points = np.unique(np.concatenate([[0.0], tails, middle, 1 - tails, [1.0]]))
        below = self.weights @ betainc(a[:, None], b[:, None], points)
        return _Share(mean, points, np.maximum.accumulate(below))


def _density(table: Array, box: Array, n: int) -> tuple[Array, Array, Array]:
    """Return nodes in a box, and the logarithm of weight times posterior at each."""
    at, weight = roots_legendre(n)
    (odds, of_odds), (spread, of_spread) = (
        (low + (high - low) * (at + 1) / 2, weight * (high - low) / 2) for low, high in box
    )
    odds, spread = (each.ravel() for each in np.meshgrid(odds, spread, indexing="ij"))
    a, b = _parameters(odds, spread)
    counts, times = np.unique(table, axis=0, return_counts=True)
    successes, failures = counts[:, :1], counts[:, 1:] - counts[:, :1]
    likelihood = times @ (betaln(a + successes, b + failures) - betaln(a, b))
    uniform = np.log(expit(odds)) + np.log(expit(-odds))  # of the mean, seen from its log odds
    return odds, spread, likelihood + uniform + np.log(np.outer(of_odds, of_spread).ravel())


def _parameters(odds: Array, spread: Array) -> tuple[Array, Array]:
    """Return those of the Beta distribution; the spread is a share of the largest allowed."""
    least = 1 / (2 * expit(-np.abs(odds)))
    concentration = (least + 1) / spread**2 - 1
    return expit(odds) * concentration, expit(-odds) * concentration


def _fall(losing: _Share, gaining: _Share) -> PooledFigure:
    """Return λ − γ(1 − λ), both being independent."""
    masses = np.diff(gaining.below)
    gains = ((gaining.points[1:] + gaining.points[:-1]) / 2)[masses > 1e-12]
    masses = masses[masses > 1e-12]
    masses /= masses.sum()

    def at_most(fall: float) -> float:
        return float(masses @ losing.at_most((fall + gains) / (1 + gains)))

    mean = losing.mean - gaining.mean * (1 - losing.mean)
    return PooledFigure(mean, Interval(_quantile(at_most, 0.025), _quantile(at_most, 0.975)))


def _quantile(at_most: Callable[[float], float], level: float) -> float:
    if at_most(-1.0) >= level:
        return -1.0
    if at_most(1.0) <= level:
        return 1.0
    return float(brentq(lambda fall: at_most(fall) - level, -1.0, 1.0, xtol=1e-6))
