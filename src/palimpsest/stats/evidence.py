r"""Evidence that may be looked at at any time: bets against a claim, and sequences of intervals.

Somebody who does not believe a claim bets against it, at odds that are fair if it holds. His wealth
is then a nonnegative supermartingale that begins at 1, and the chance that it *ever* reaches 1/α is
at most α (Ville 1939). So wealth is evidence whenever one looks, stops or goes on.

*Coins.* If a tuned model is no worse than its base, an example that only one of them answers right
is, at best, a fair coin. Betting with all chances θ > ½ of a loss at once, weighted by a Beta prior
that is cut at ½, the wealth after a losses and c gains has a closed form:

.. math::
   E = \frac{2^{a+c}\,B(β+a, β+c)\,\{1 - I_{1/2}(β+a, β+c)\}}{B(β, β)\,/\,2}, \qquad β = ½

*Bounded means.* For values in [l, h] whose mean is at most m, whatever their distribution,

.. math:: K = \sum_j w_j \prod_i (1 + λ_j (x_i - m)), \qquad λ_j = f_j / (m - l),\; 0 < f_j < 1

is such a wealth: a fixed mixture of fixed bets needs no look ahead, and is worth as much as the
best of them, but for the factor w. The means that it does not bet down are a *confidence sequence*.
A share ρ of a difference is tested by the mean of gain − ρ · fall.

Sources: Waudby-Smith and Ramdas, JRSS B 86 (2024), 1–27 (arXiv 2010.09686), who predict bets
instead of mixing them; Robbins, Annals of Mathematical Statistics 41 (1970), 1397–1409, for
mixtures; Ramdas, Grünwald, Vovk and Shafer, Statistical Science 38 (2023), 576–601.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaln, hyp2f1, logsumexp

from palimpsest.stats.bootstrap import Array

Side = Literal["greater", "less"]

_BOLD = 0.97
"""The largest bet, as a fraction of what may be lost: what clear cells are decided by."""

_FRACTIONS = np.append(np.geomspace(0.004, 0.9, 23), _BOLD)
_WEIGHTS = np.append(np.full(23, 0.7 / 23), 0.3)
"""Three tenths of the money bet boldly: where nothing ever flips, evidence comes about a quarter
slower than if one had known that; the rest is spread so that any size of effect finds its bet."""

_N_HALVINGS = 40
_SHARES = np.round(np.arange(-1.0, 4.001, 0.01), 2)
"""Shares of a fall that are tried for their sequence."""

_TINY = 1e-250
"""Below this, a share of a distribution is reckoned by its logarithm."""

_BETA = 0.5
"""Jeffreys' prior."""


class OpenInterval(NamedTuple):
    """An interval, an end of which is ``None`` where the data do not bound it."""

    low: float | None
    high: float | None


def coin_log_wealth(n_lost: npt.ArrayLike, n_gained: npt.ArrayLike) -> Array:
    """Return the log of the wealth that bet on more losses than gains, against at most as many.

    Args:
        n_lost: Examples right only the first time; any shape.
        n_gained: Right only the second time; the same shape.

    Example:
        >>> round(float(np.exp(coin_log_wealth(10, 0))), 1)
        360.8
    """
    a, c = (np.asarray(n, np.float64) + _BETA for n in (n_lost, n_gained))
    above = betainc(c, a, 0.5)  # the share of the Beta distribution above ½, mirrored
    flat = betaln(_BETA, _BETA) - math.log(2)
    is_tiny = above < _TINY
    direct = (a + c - 2 * _BETA) * math.log(2) + betaln(a, c) + np.log(np.where(is_tiny, 1, above))
    # Where gains prevail, that share is below all numbers: its series times 2^(a+c) B(a, c).
    rare = hyp2f1(np.where(is_tiny, a + c, 1.0), 1, c + 1, 0.5)
    series = -2 * _BETA * math.log(2) - np.log(c) + np.log(rare)
    return np.asarray(np.where(is_tiny, series, direct) - flat, np.float64)


def log_wealth(
    values: npt.ArrayLike,
    counts: npt.ArrayLike,
    *,
    low: float,
    high: float,
    mean: npt.ArrayLike = 0.0,
    side: Side = "greater",
) -> Array:
    """Return the log of the wealth that bet on a mean on one side of ``mean``.

    Against the claim that it is not there: for ``greater``, that it is ``mean`` or less.

    Args:
        values: What was observed, each once; (n_values,).
        counts: How often each; (…, n_values), many samples at once.
        low: The lowest value that could be observed.
        high: The highest.
        mean: Of the claim, strictly between the two; one, or one a sample.
        side: Where the bettor thinks that the mean is.

    Returns:
        The logs; (…).

    Example:
        >>> found = log_wealth([0.0, 1.0], [[5, 5], [0, 10]], low=0.0, high=1.0, mean=0.5)
        >>> [round(float(each), 2) for each in found]
        [-0.59, 5.69]
    """
    x = np.asarray(values, np.float64)
    m = np.asarray(mean, np.float64)
    if side == "less":
        x, m, low = -x, -m, -high
    bets = _FRACTIONS / (m[..., None] - low)  # (…, n_bets)
    gains = np.log1p(bets[..., None] * (x - m[..., None])[..., None, :])  # (…, n_bets, n_values)
    number = np.asarray(counts, np.float64)
    sums = number @ gains.T if gains.ndim == 2 else np.matmul(gains, number[..., None])[..., 0]
    wealth: Array = logsumexp(sums + np.log(_WEIGHTS), axis=-1)
    return wealth


def mean_sequence(
    values: npt.ArrayLike, counts: npt.ArrayLike, *, low: float, high: float, alpha: float = 0.05
) -> tuple[Array, Array]:
    """Return the ends of the confidence sequences of means: right at all times with 1 − alpha.

    Args:
        values: What was observed, each once; (n_values,).
        counts: How often each; (…, n_values).
        low: The lowest value that could be observed.
        high: The highest.
        alpha: The chance that an interval ever misses, half of it on either side.

    Returns:
        The lower and the upper ends; (…) each. Without an observation they are ``low`` and
        ``high``.

    Example:
        >>> low, high = mean_sequence([0.0, 1.0], [[50, 50]], low=0.0, high=1.0)
        >>> round(float(low[0]), 2), round(float(high[0]), 2)
        (0.33, 0.67)
    """
    number = np.asarray(counts, np.float64)
    shape = number.shape[:-1]

    def end(side: Side) -> Array:
        """Halve between what is bet down for certain and what is not; wealth falls with m."""
        outside = np.full(shape, low if side == "greater" else high)
        inside = np.full(shape, high if side == "greater" else low)
        for _ in range(_N_HALVINGS):
            middle = (outside + inside) / 2
            wealth = log_wealth(values, number, low=low, high=high, mean=middle, side=side)
            is_out = wealth >= math.log(2 / alpha)
            outside, inside = np.where(is_out, middle, outside), np.where(is_out, inside, middle)
        return outside

    return end("greater"), end("less")


def share_log_wealth(
    gain: npt.ArrayLike,
    fall: npt.ArrayLike,
    counts: npt.ArrayLike,
    *,
    share: float,
    side: Side,
) -> Array:
    """Return the log of the wealth that bet on more (``greater``) than a share of a fall back.

    Against E[gain] ≤ share · E[fall], or ≥ for ``less``. With scores from 0 to 1 the gain is tuned
    under s − tuned, the fall base − tuned.

    Args:
        gain: Of each pattern; (n_patterns,).
        fall: Of each pattern.
        counts: How often each pattern was seen; (…, n_patterns).
        share: Of the fall.
        side: Where the bettor thinks that the share is.
    """
    most = float(_most(share))
    x = np.asarray(gain, np.float64) - share * np.asarray(fall, np.float64)
    return log_wealth(x, counts, low=-most, high=most, side=side)


def share_sequence(
    gain: npt.ArrayLike, fall: npt.ArrayLike, counts: npt.ArrayLike, *, alpha: float = 0.05
) -> OpenInterval:
    """Return the confidence sequence of the share of a fall that comes back, as of now.

    The shares that are bet down on neither side, by Fieller's idea: no ratio is ever formed. An end
    is ``None`` where shares below −1 or above 4 are not excluded.

    Args:
        gain: Of each pattern; (n_patterns,).
        fall: Of each pattern.
        counts: How often each pattern was seen; (n_patterns,).
        alpha: The chance that an interval ever misses.
    """
    pairs = np.column_stack(
        [np.broadcast_to(gain, np.shape(counts)), np.broadcast_to(fall, np.shape(counts))]
    )
    patterns, index = np.unique(pairs, axis=0, return_inverse=True)
    number = np.bincount(index.reshape(-1), np.asarray(counts, np.float64), len(patterns))
    # Scaled to [−1, 1], so that all shares are bet on at once.
    x = (patterns[:, 0] - _SHARES[:, None] * patterns[:, 1]) / _most(_SHARES)[:, None]
    sums = [
        np.log1p(sign * _FRACTIONS[:, None] * x[:, None, :]) @ number for sign in (1.0, -1.0)
    ]  # each (n_shares, n_bets)
    wealth = logsumexp(np.stack(sums) + np.log(_WEIGHTS), axis=-1)
    left = _SHARES[(wealth < math.log(2 / alpha)).all(axis=0)]
    if not len(left):  # bets on both sides were won: nothing fits as of now
        return OpenInterval(None, None)
    low, high = float(left[0]), float(left[-1])
    return OpenInterval(None if low == _SHARES[0] else low, None if high == _SHARES[-1] else high)


def _most(share: npt.ArrayLike) -> Array:
    """Return the most that under − (1 − share) · tuned − share · base can be, for any scores."""
    found: Array = np.maximum(1.0, np.maximum(share, 1 - np.asarray(share, np.float64)))
    return found


def anytime_p_value(log_wealth_of_either_side: npt.ArrayLike) -> Array:
    """Return p-values that may be looked at at any time, from the logs of wealth of both sides.

    Half of the money bets on each side; p is one over the wealth, and at most 1.

    Args:
        log_wealth_of_either_side: (2, …).

    Example:
        >>> round(float(anytime_p_value([np.log(39.0), np.log(1.0)])), 3)
        0.05
    """
    both = np.asarray(log_wealth_of_either_side, np.float64)
    p: Array = np.minimum(1.0, np.exp(-(logsumexp(both, axis=0) - math.log(2))))
    return p
