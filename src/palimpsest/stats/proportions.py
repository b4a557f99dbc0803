"""Intervals for proportions and for paired differences of proportions."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

from palimpsest.stats.paired import Flips


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def wilson_interval(n_right: int, n: int, *, confidence: float = 0.95) -> Interval:
    r"""Return Wilson's score interval for a proportion.

    .. math:: \frac{2k + z^2 \pm z \sqrt{z^2 + 4k(n-k)/n}}{2(n + z^2)}

    Args:
        n_right: Successes k.
        n: Trials, at least one.
        confidence: The level, a fraction.

    Raises:
        ValueError: There are no trials, or more successes than trials.

    Source: Wilson, JASA 22 (1927), 209–212; Newcombe, Statistics in Medicine 17 (1998), 857–872.

    Example:
        >>> low, high = wilson_interval(81, 263)
        >>> round(low, 4), round(high, 4)
        (0.2553, 0.3662)
    """
    if n < 1 or not 0 <= n_right <= n:
        raise ValueError(f"A proportion needs 0 ≤ successes ≤ trials ≥ 1; got {n_right} of {n}.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = 2 * n_right + z**2
    spread = z * math.sqrt(z**2 + 4 * n_right * (n - n_right) / n)
    scale = 2 * (n + z**2)
    # Exact ends at 0 of n and n of n, where rounding would leave a hair.
    low = 0.0 if n_right == 0 else (centre - spread) / scale
    high = 1.0 if n_right == n else (centre + spread) / scale
    return Interval(low, high)


def newcombe_paired_interval(flips: Flips, *, confidence: float = 0.95) -> Interval:
    r"""Return Newcombe's interval for a paired difference: first minus second accuracy.

    Squares and adds the Wilson intervals of both accuracies, less their correlation φ, which is
    shrunk for continuity (method 10):

    .. math:: L = D - \sqrt{(p_1-l_1)^2 - 2φ(p_1-l_1)(u_2-p_2) + (u_2-p_2)^2}

    and U likewise. Unlike a bootstrap it keeps a sensible width where nothing, or everything,
    flipped. It takes the pairs for independent.

    Args:
        flips: The paired counts, at least one pair.
        confidence: The level, a fraction.

    Raises:
        ValueError: There are no pairs.

    Source: Newcombe, Statistics in Medicine 17 (1998), 2635–2650.

    Example:
        >>> low, high = newcombe_paired_interval(Flips(both=59, lost=6, gained=16, neither=80))
        >>> round(low, 4), round(high, 4)
        (-0.1186, -0.0046)
    """
    n = flips.n
    if n < 1:
        raise ValueError("A paired difference needs at least one pair; got none.")
    first, second = flips.both + flips.lost, flips.both + flips.gained
    p1, p2 = first / n, second / n
    l1, u1 = wilson_interval(first, n, confidence=confidence)
    l2, u2 = wilson_interval(second, n, confidence=confidence)
    phi = _shrunk_phi(flips)
    below = _combine(p1 - l1, u2 - p2, phi)
    above = _combine(u1 - p1, p2 - l2, phi)
    return Interval(flips.difference - below, flips.difference + above)


def _combine(one: float, other: float, phi: float) -> float:
    # The quadratic form is never negative for |φ| ≤ 1; rounding may make it so.
    return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))


def _shrunk_phi(flips: Flips) -> float:
    """Return the correlation of the pairs, a positive one corrected for continuity by n/2."""
    margins = (
        (flips.both + flips.lost)
        * (flips.gained + flips.neither)
        * (flips.both + flips.gained)
        * (flips.lost + flips.neither)
    )
    if margins == 0:
        return 0.0
    excess: float = flips.both * flips.neither - flips.lost * flips.gained
    if excess > 0:
        excess = max(excess - flips.n / 2, 0.0)
    return excess / math.sqrt(margins)
