r"""Forgetting, and how much of it comes back under a conjugation.

With the accuracies b and t of base and tuned model asked plainly, and :math:`b_s, t_s` under a
conjugation s, all on the same examples:

.. math::
   \text{forgetting} = b - t, \qquad
   \text{recovery} = \frac{t_s - t}{b - t}, \qquad
   \text{did} = (t_s - t) - (b_s - b)

The difference in differences ``did`` takes off what s does to the base model as well.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palimpsest.stats.bootstrap import Array, bootstrap_means, percentile_interval
from palimpsest.stats.paired import Flips, count_flips, mcnemar_exact
from palimpsest.stats.proportions import Interval, newcombe_paired_interval

N_PSEUDO = 2.0
"""Pseudo-clusters in every bootstrap here, as in :mod:`palimpsest.stats.bootstrap`. By simulated
coverage near the boundary (tests/stats/test_recovery.py), with none, intervals hold the truth in as
little as 12 % of samples; with 1, in 83 %; with 2, in 91 %; with more, they miss on the far side.
"""


class Arms(NamedTuple):
    """Right or wrong for each example, in four conditions; arrays of one length."""

    base: npt.NDArray[np.bool_]
    """The base model, asked plainly."""
    tuned: npt.NDArray[np.bool_]
    """The tuned model, asked plainly."""
    base_under: npt.NDArray[np.bool_]
    """The base model under the conjugation."""
    tuned_under: npt.NDArray[np.bool_]
    """The tuned model under the conjugation."""


class Forgetting(NamedTuple):
    """Base minus tuned accuracy, with its uncertainty."""

    value: float
    interval: Interval
    """Clustered bootstrap, 95 %."""
    newcombe: Interval
    """Newcombe's paired interval, 95 %; takes the examples for independent."""
    p_value: float
    """Exact McNemar test."""
    flips: Flips
    """From base to tuned."""

    @property
    def is_clear(self) -> bool:
        """Whether both intervals lie above zero."""
        return self.interval.hull(self.newcombe).low > 0


class Recovery(NamedTuple):
    """What a conjugation brings back."""

    recovery: float | None
    """Share of the forgetting that comes back; ``None`` where forgetting is not clear."""
    recovery_interval: Interval | None
    """Clustered bootstrap, 95 %."""
    did: float
    """Difference in differences, a fraction."""
    did_interval: Interval
    """Clustered bootstrap, 95 %."""
    p_value: float
    """Exact McNemar test of the tuned model, plain against conjugated."""
    flips: Flips
    """Of the tuned model, from plain to conjugated."""


def estimate_forgetting(
    base: npt.ArrayLike,
    tuned: npt.ArrayLike,
    clusters: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
) -> Forgetting:
    """Estimate base minus tuned accuracy on the same examples.

    Args:
        base: One truth value an example.
        tuned: The same for the tuned model.
        clusters: The source example of each example.
        rng: The source of randomness of the bootstrap.
        n_resamples: Bootstrap resamples.

    Example:
        >>> base, tuned = [True] * 60, [False] * 45 + [True] * 15
        >>> found = estimate_forgetting(base, tuned, range(60), rng=np.random.default_rng(0))
        >>> found.value, found.flips.lost, found.is_clear
        (0.75, 45, True)
    """
    flips = count_flips(base, tuned)
    means = bootstrap_means(
        np.column_stack([np.asarray(base, dtype=bool), np.asarray(tuned, dtype=bool)]),
        clusters,
        rng=rng,
        n_resamples=n_resamples,
        n_pseudo=N_PSEUDO,
    )
    return Forgetting(
        value=flips.difference,
        interval=percentile_interval(means[:, 0] - means[:, 1]),
        newcombe=newcombe_paired_interval(flips),
        p_value=mcnemar_exact(flips),
        flips=flips,
    )


def estimate_recovery(
    arms: Arms,
    clusters: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
) -> Recovery:
    """Estimate recovery and difference in differences; all four arms are resampled together.

    Recovery is a ratio. It is ``None`` unless the forgetting on these very examples is clear:
    the lower ends of its bootstrap and of its Newcombe interval are above zero. Resamples in which
    the tuned model does not fall behind the base model have no recovery; they count as minus
    infinity for the lower end of the interval and as infinity for the upper end, which can only
    widen it. The condition leaves fewer of them than lie outside the interval, so its ends are
    finite; near the condition they are far apart, as they should be.

    Args:
        arms: The outcomes, in one order.
        clusters: The source example of each example.
        rng: The source of randomness of the bootstrap.
        n_resamples: Bootstrap resamples.
    """
    means = bootstrap_means(
        np.column_stack(arms), clusters, rng=rng, n_resamples=n_resamples, n_pseudo=N_PSEUDO
    )
    base, tuned, base_under, tuned_under = (float(np.mean(arm)) for arm in arms)
    fall, gain = means[:, 0] - means[:, 1], means[:, 3] - means[:, 1]
    flips = count_flips(arms.tuned, arms.tuned_under)
    interval = _recovery_interval(fall, gain, count_flips(arms.base, arms.tuned))
    return Recovery(
        recovery=None if interval is None else (tuned_under - tuned) / (base - tuned),
        recovery_interval=interval,
        did=(tuned_under - tuned) - (base_under - base),
        did_interval=percentile_interval(gain - (means[:, 2] - means[:, 0])),
        p_value=mcnemar_exact(flips),
        flips=flips,
    )


def _recovery_interval(fall: Array, gain: Array, forgotten: Flips) -> Interval | None:
    if percentile_interval(fall).hull(newcombe_paired_interval(forgotten)).low <= 0:
        return None
    ratio = np.divide(gain, fall, out=np.full_like(gain, np.inf), where=fall > 0)
    lowest = np.where(fall > 0, ratio, -np.inf)
    return Interval(percentile_interval(lowest).low, percentile_interval(ratio).high)
