"""Agreement of two judges beyond what chance explains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from palimpsest.stats.proportions import Interval


class Kappa(NamedTuple):
    """Cohen's κ with its interval."""

    value: float
    interval: Interval
    """Within −1 and 1."""


def cohens_kappa(table: Sequence[Sequence[int]], *, confidence: float = 0.95) -> Kappa | None:
    r"""Return Cohen's kappa of two judges who put the same things into the same categories.

    .. math:: κ = \frac{p_o - p_e}{1 - p_e}, \qquad p_o = \sum_i p_{ii}, \quad
              p_e = \sum_i p_{i\cdot} p_{\cdot i}

    The interval is that of a normal distribution with the large-sample variance

    .. math:: \frac{\sum_i p_{ii} (1 - (p_{i\cdot} + p_{\cdot i})(1 - κ))^2
              + (1 - κ)^2 \sum_{i \ne j} p_{ij} (p_{\cdot i} + p_{j \cdot})^2
              - (κ - p_e (1 - κ))^2}{n (1 - p_e)^2}

    Args:
        table: Square; a row for each category of the first judge, a column for each of the second.
        confidence: The level, a fraction.

    Returns:
        ``None`` where both judges know but one category, so that chance explains everything, or
        nothing was judged.

    Source: Cohen, Educational and Psychological Measurement 20 (1960), 37–46; Fleiss, Cohen and
    Everitt, Psychological Bulletin 72 (1969), 323–327.

    Example:
        >>> found = cohens_kappa([[20, 5], [10, 15]])
        >>> round(found.value, 2), [round(end, 2) for end in found.interval]
        (0.4, [0.15, 0.65])
    """
    counts = np.asarray(table, dtype=float)
    n = counts.sum()
    if n == 0:
        return None
    p = counts / n
    rows, columns = p.sum(1), p.sum(0)
    observed, expected = float(np.trace(p)), float(rows @ columns)
    if math.isclose(expected, 1.0):
        return None
    kappa = (observed - expected) / (1 - expected)
    same = float(np.sum(np.diag(p) * (1 - (rows + columns) * (1 - kappa)) ** 2))
    crossed = p * (columns[:, None] + rows[None, :]) ** 2
    other = (1 - kappa) ** 2 * float(crossed.sum() - np.trace(crossed))
    variance = (same + other - (kappa - expected * (1 - kappa)) ** 2) / (n * (1 - expected) ** 2)
    spread = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(max(variance, 0.0))
    return Kappa(kappa, Interval(max(kappa - spread, -1.0), min(kappa + spread, 1.0)))
