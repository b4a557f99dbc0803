r"""Forgetting on ``D_cont``, and how much of it a conjugation undoes.

With the losses of base and tuned model asked plainly and under a conjugation s, on the same
prompts:

.. math::
   \text{forgetting} = L_{tuned} - L_{base}, \qquad
   \text{recovery} = \frac{L_{tuned} - L_{tuned,s}}{L_{tuned} - L_{base}}, \qquad
   \text{net} = \text{recovery} - \frac{L_{base} - L_{base,s}}{L_{tuned} - L_{base}}

The net figure takes off what s gives the base model: the mean over an ensemble averages away noise
that has nothing to do with forgetting.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from palimpsest.lab.measuring.inference import N_RESAMPLES
from palimpsest.records import Estimate
from palimpsest.stats import Array, Interval, bootstrap_means, percentile_interval


class LossRecovery(NamedTuple):
    """What a conjugation brings back of the loss that tuning has added.

    Intervals are 95 %, by bootstrap over prompts.
    """

    recovery: Estimate
    """Undefined unless the interval of the forgetting is above zero."""
    net: Estimate
    """The same, net of the base model's gain."""


def estimate_recovery(
    base: Float[np.ndarray, "prompts points"],
    tuned: Float[np.ndarray, "prompts points"],
    base_under: Float[np.ndarray, "prompts points"],
    tuned_under: Float[np.ndarray, "prompts points"],
    *,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
) -> LossRecovery:
    """Estimate recovery from squared errors on the same prompts; all are resampled together.

    Resamples in which the tuned model does not fall behind have no recovery. They count as minus
    infinity for the lower end of an interval and as infinity for the upper, which can only widen
    it, as in :mod:`palimpsest.stats.recovery`.

    Args:
        base: Squared errors of the base model, asked plainly.
        tuned: Of the tuned model, asked plainly.
        base_under: Of the base model under the conjugation.
        tuned_under: Of the tuned model under the conjugation.
        rng: The source of randomness of the bootstrap.
        n_resamples: Bootstrap resamples.

    Raises:
        ValueError: The arms differ in shape.

    Example:
        >>> base, tuned = np.ones((50, 3)), np.full((50, 3), 3.0)
        >>> rng = np.random.default_rng(0)
        >>> found = estimate_recovery(base, tuned, base - 0.5, tuned - 1.5, rng=rng)
        >>> found.recovery.value, found.net.value
        (0.75, 0.5)
    """
    arms = (base, tuned, base_under, tuned_under)
    if len({arm.shape for arm in arms}) > 1:
        raise ValueError(f"All arms need one shape; got {[arm.shape for arm in arms]}.")
    losses = np.column_stack([arm.mean(1) for arm in arms])
    means = bootstrap_means(losses, range(len(losses)), rng=rng, n_resamples=n_resamples)
    forgetting, gain, base_gain = _differences(losses.mean(0)[None])
    fall, rise, base_rise = _differences(means)
    if percentile_interval(fall).low <= 0:
        return LossRecovery(Estimate(value=None), Estimate(value=None))
    return LossRecovery(
        recovery=Estimate(value=float((gain / forgetting)[0]), ci95=_ratio_interval(rise, fall)),
        net=Estimate(
            value=float(((gain - base_gain) / forgetting)[0]),
            ci95=_ratio_interval(rise - base_rise, fall),
        ),
    )


def _differences(losses: Array) -> tuple[Array, Array, Array]:
    """Return forgetting, gain and base gain of each row of losses."""
    base, tuned, base_under, tuned_under = losses.T
    return tuned - base, tuned - tuned_under, base - base_under


def _ratio_interval(gain: Array, fall: Array) -> Interval:
    ratio = np.divide(gain, fall, out=np.full_like(gain, np.inf), where=fall > 0)
    lowest = np.where(fall > 0, ratio, -np.inf)
    return Interval(percentile_interval(lowest).low, percentile_interval(ratio).high)
