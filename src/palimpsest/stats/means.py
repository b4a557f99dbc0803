"""Mean over independent runs, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t as student


class Mean(NamedTuple):
    """A mean over runs, with the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


class Point(NamedTuple):
    """The runs at one value of a key that is varied."""

    x: Any
    mean: float
    low: float
    high: float
    values: list[float]


class Line(NamedTuple):
    """Points that belong together."""

    name: str
    points: list[Point]


def mean_over_runs(values: Sequence[float]) -> Mean:
    """Return the mean over runs with Student's 95 % interval; of one value, the value thrice.

    Args:
        values: One a run; the runs have seeds of their own.

    Raises:
        ValueError: There are none.

    Example:
        >>> mean_over_runs([1.0, 2.0, 3.0])
        Mean(mean=2.0, low=-0.484..., high=4.484...)
    """
    if not values:
        raise ValueError("A mean needs at least one value.")
    mean = float(np.mean(values))
    if len(values) < 2:
        return Mean(mean, mean, mean)
    half = float(student.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1))
    half /= math.sqrt(len(values))
    return Mean(mean, mean - half, mean + half)
