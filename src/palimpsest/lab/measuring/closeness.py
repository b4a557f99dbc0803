"""Change of loss by how near a prompt is to the tuning data: where fine-tuning hurts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.checks import check_count
from palimpsest.lab.measuring.inference import N_RESAMPLES, Curve, outer_quantiles
from palimpsest.stats import Interval, bootstrap_means, percentile_interval


class ChangeByCloseness(NamedTuple):
    """The mean change of loss in each decile of closeness, farthest first."""

    change: Curve
    """A value for each bin, with its 95 % interval by bootstrap over prompts."""
    closeness: Float[np.ndarray, " bins"]
    """Mean closeness in each bin."""
    last_minus_first: float
    """Change among the nearest prompts minus change among the farthest."""
    interval: Interval
    """Of that difference."""


def change_by_closeness(
    base: Float[np.ndarray, "prompts points"],
    tuned: Float[np.ndarray, "prompts points"],
    closeness: Float[Tensor, "prompts points"],
    *,
    rng: np.random.Generator,
    n_bins: int = 10,
    n_resamples: int = N_RESAMPLES,
) -> ChangeByCloseness:
    """Sort prompts of ``D_cont`` by closeness, and average what tuning changed in each bin.

    Likelihoods of prefixes of different lengths do not compare, so prompts are ranked at each
    prefix by itself; a prompt may be near after two exemplars and far after ten. Prefixes at which
    all prompts are as near (that without exemplars) are left out.

    Args:
        base: Squared errors of the base model.
        tuned: Of the tuned model, on the same prompts.
        closeness: The log-likelihood of each prefix under ``D_disc``; or its log ratio to that
            under ``D_cont``, which no prompt gains by small labels.
        rng: The source of randomness of the bootstrap.
        n_bins: How many bins of equal size.
        n_resamples: Bootstrap resamples.

    Raises:
        UserError: Fewer prompts than bins, or prompts that are all as near.
    """
    check_count("n_bins", n_bins)
    near = closeness.double().numpy()
    near, change = _with_spread(near, near), _with_spread(tuned - base, near)
    if len(near) < n_bins or not near.size:
        raise UserError(
            f"{n_bins} bins need as many prompts that differ in closeness; got {len(near)} "
            f"prompts, which differ at {near.shape[1]} prefixes."
        )
    shares = (rankdata(near, method="ordinal", axis=0) - 1) / len(near)
    # The small constant keeps 0.3 × 10 = 2.9999999999999996 out of the bin below.
    bins = (shares * n_bins + 1e-9).astype(np.int64)
    inside = bins[:, :, None] == np.arange(n_bins)  # prompts, points, bins
    sums, counts = (change[:, :, None] * inside).sum(1), inside.sum(1)
    columns = np.column_stack([sums, counts])
    means = bootstrap_means(columns, range(len(near)), rng=rng, n_resamples=n_resamples)
    resampled = means[:, :n_bins] / means[:, n_bins:]
    values = sums.sum(0) / counts.sum(0)
    return ChangeByCloseness(
        change=Curve(values, *outer_quantiles(resampled)),
        closeness=(near[:, :, None] * inside).sum((0, 1)) / counts.sum(0),
        last_minus_first=float(values[-1] - values[0]),
        interval=percentile_interval(resampled[:, -1] - resampled[:, 0]),
    )


def _with_spread(
    values: Float[np.ndarray, "prompts points"], near: Float[np.ndarray, "prompts points"]
) -> Float[np.ndarray, "prompts kept"]:
    """Return the prefixes at which prompts differ in closeness."""
    return values[:, np.ptp(near, axis=0) > 0]
