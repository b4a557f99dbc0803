"""Curves over the number of exemplars, with bootstrap intervals over prompts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from palimpsest.stats.bootstrap import percentile_interval
from palimpsest.stats.proportions import Interval

N_RESAMPLES = 2000
"""Bootstrap resamples, unless the caller says otherwise: the ends of an interval are then known to
about a thirtieth of its width."""


class Curve(NamedTuple):
    """A figure for each number of exemplars, with the ends of its 95 % interval."""

    values: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]


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
