r"""Inferred task of a model: the share ĝ of the discrete solution in it, and the α̂ it acts by.

With a model's prediction f, the ridge answer c and the discrete answer e:

.. math::
   \hat g_k = \frac{\sum (f_k - c_k)(e_k - c_k)}{\sum (e_k - c_k)^2}, \qquad
   \hat α = \arg\min_α \sum (f - m_α)^2

over prompts, and for α̂ over prefixes as well; :math:`m_α` is the Bayes mixture for the prior α.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from scipy.special import expit
from torch import Tensor

from palimpsest.lab.predictors import MixturePass
from palimpsest.stats import Array, Interval, bootstrap_means, percentile_interval

N_RESAMPLES = 2000
"""Bootstrap resamples, unless the caller says otherwise: the ends of an interval are then known to
about a thirtieth of its width."""


class Curve(NamedTuple):
    """A figure for each number of exemplars, with the ends of its 95 % interval."""

    values: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]


class DiscreteShare(NamedTuple):
    """How much of the discrete solution is in a model; intervals are 95 %, over prompts."""

    by_prefix: Curve
    """ĝ for each number of exemplars; NaN where both solutions agree on every prompt."""
    overall: float
    """ĝ with the sums taken over all prefixes as well."""
    interval: Interval


def discrete_share(
    predictions: Float[Tensor, "batch points"],
    ridge: Float[Tensor, "batch points"],
    discrete: Float[Tensor, "batch points"],
    *,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
) -> DiscreteShare:
    """Measure ĝ: 0 for ridge, 1 for the discrete estimator.

    A model that merely shrinks ridge's answer has a share above zero as well. Where that matters,
    :func:`palimpsest.lab.measuring.splitting.split_excess` tells them apart.

    Args:
        predictions: f, in float64.
        ridge: c.
        discrete: e.
        rng: The source of randomness of the bootstrap.
        n_resamples: Bootstrap resamples.

    Example:
        >>> import torch
        >>> ridge, discrete = torch.zeros(50, 3), torch.ones(50, 3)
        >>> found = discrete_share(
        ...     ridge + 0.25, ridge, discrete, rng=np.random.default_rng(0)
        ... )
        >>> found.overall, found.by_prefix.values
        (0.25, array([0.25, 0.25, 0.25]))
    """
    f, c, e = (part.double().numpy() for part in (predictions, ridge, discrete))
    n_points = f.shape[1]
    products, squares = (f - c) * (e - c), (e - c) ** 2
    columns = np.column_stack([products, squares])
    means = bootstrap_means(columns, range(len(f)), rng=rng, n_resamples=n_resamples)
    top, bottom = means[:, :n_points], means[:, n_points:]
    values = _ratio(products.mean(0), squares.mean(0))
    overall = _ratio(top.sum(1), bottom.sum(1))
    return DiscreteShare(
        by_prefix=Curve(values, *outer_quantiles(_ratio(top, bottom))),
        overall=float(_ratio(products.sum(keepdims=True), squares.sum(keepdims=True)).item()),
        interval=percentile_interval(overall),
    )


class AlphaFit(NamedTuple):
    """The prior of the Bayes mixture that is nearest to a model."""

    alpha: float
    """α̂."""
    interval: Interval
    """95 %, by bootstrap over prompts."""
    log_odds: float
    """log α̂/(1 − α̂), which tells apart priors that round to 0 or 1; may be infinite."""
    log_odds_interval: Interval
    distance: float
    """Mean squared distance between the model and that mixture."""


_N_GRID = 241
_MARGIN = 20.0


def fit_alpha(
    predictions: Float[Tensor, "batch points"],
    exact: MixturePass,
    *,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
) -> AlphaFit:
    """Find α̂, in log odds, over all values that change a prediction.

    The distance can have several minima, so a grid is searched first. It is fine around even odds
    and coarse far out; 0 and 1 themselves are on it. The estimate is then refined between its
    neighbours; the resamples, between theirs, by a parabola.

    Args:
        predictions: f.
        exact: The Bayes predictors on the same prompts, for any prior.
        rng: The source of randomness of the bootstrap.
        n_resamples: Bootstrap resamples.
    """
    f, c, e = (part.double().numpy() for part in (predictions, exact.ridge, exact.discrete))
    evidence = (exact.log_likelihood_discrete - exact.log_likelihood_continuous).numpy()

    def distances(log_odds: float) -> Array:
        """Mean squared distance of each prompt."""
        g = expit(log_odds + evidence)
        found: Array = ((f - c - g * (e - c)) ** 2).mean(1)
        return found

    # In u = asinh(log odds), even steps are fine near zero and coarse far out.
    reach = math.asinh(float(np.abs(evidence).max()) + _MARGIN)
    grid = np.linspace(-reach, reach, _N_GRID)
    table = np.column_stack(
        [distances(-math.inf), *(distances(math.sinh(u)) for u in grid), distances(math.inf)]
    )
    log_odds = _refined(table.mean(0), grid, distances)
    means = bootstrap_means(table, range(len(f)), rng=rng, n_resamples=n_resamples)
    resampled = np.array([_nearest(row, grid) for row in means])
    interval = percentile_interval(resampled)
    return AlphaFit(
        alpha=float(expit(log_odds)),
        interval=Interval(*(float(expit(end)) for end in interval)),
        log_odds=log_odds,
        log_odds_interval=interval,
        distance=float(distances(log_odds).mean()),
    )


def _refined(row: Array, grid: Array, distances: Callable[[float], Array]) -> float:
    """Return the log odds of the least distance, refined from a row of the table."""
    best = int(row.argmin())
    if best in (0, len(row) - 1):
        return math.copysign(math.inf, best - 1)
    low, high = grid[max(best - 2, 0)], grid[min(best, len(grid) - 1)]
    found = minimize_scalar(
        lambda u: float(distances(math.sinh(u)).mean()),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return math.sinh(float(found.x))


def _nearest(row: Array, grid: Array) -> float:
    """Return the log odds of the least of the distances on the grid, by a parabola."""
    best = int(row.argmin())
    if best in (0, len(row) - 1):
        return math.copysign(math.inf, best - 1)
    u = float(grid[best - 1])
    if 1 < best < len(row) - 2:
        before, here, after = row[best - 1 : best + 2]
        curvature = before - 2 * here + after
        if curvature > 0:
            u += (grid[1] - grid[0]) * float(before - after) / (2 * float(curvature))
    return math.sinh(u)


def _ratio(top: Array, bottom: Array) -> Array:
    """Return the quotient, NaN where the divisor is zero."""
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def outer_quantiles(
    resamples: Float[np.ndarray, "resamples columns"],
) -> tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]]:
    """Return the ends of the 95 % interval of each column; NaN where a column is undefined."""
    undefined = Interval(np.nan, np.nan)
    intervals = [
        undefined if np.isnan(column).any() else percentile_interval(column)
        for column in resamples.T
    ]
    low, high = np.array(intervals).T
    return low, high
