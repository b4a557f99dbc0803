r"""Forgetting, and how much of it comes back under a conjugation.

With the accuracies b and t of base and tuned model asked plainly, and :math:`b_s, t_s` under a
conjugation s, all on the same examples:

.. math::
   \text{forgetting} = b - t, \qquad
   \text{recovery} = \frac{t_s - t}{b - t}, \qquad
   \text{did} = (t_s - t) - (b_s - b)

The difference in differences ``did`` takes off what s does to the base model as well.

Right and wrong answers get McNemar's exact test and Newcombe's interval beside the bootstrap.
Graded scores, from 0 to 1, have neither: their test is the paired randomisation test, and the
bootstrap interval stands alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palimpsest.stats.bootstrap import Array, bootstrap_means, percentile_interval
from palimpsest.stats.paired import (
    Flips,
    count_flips,
    is_binary,
    mcnemar_exact,
    sign_flip_test,
)
from palimpsest.stats.proportions import Interval, newcombe_paired_interval

N_PSEUDO = 2.0
"""Pseudo-clusters in every bootstrap here, as in :mod:`palimpsest.stats.bootstrap`. By simulated
coverage near the boundary (tests/stats/test_recovery.py), with none, intervals hold the truth in as
little as 12 % of samples; with 1, in 83 %; with 2, in 91 %; with more, they miss on the far side.
"""


Scores = npt.NDArray[np.float64] | npt.NDArray[np.bool_]
"""From 0 to 1, or whether right."""


class Arms(NamedTuple):
    """A score from 0 to 1 for each example, in four conditions; arrays of one length."""

    base: Scores
    """The base model, asked plainly."""
    tuned: Scores
    """The tuned model, asked plainly."""
    base_under: Scores
    """The base model under the conjugation."""
    tuned_under: Scores
    """The tuned model under the conjugation."""


class Forgetting(NamedTuple):
    """Base minus tuned accuracy, with its uncertainty."""

    value: float
    interval: Interval
    """Clustered bootstrap, 95 %."""
    newcombe: Interval | None
    """Newcombe's paired interval, 95 %; takes the examples for independent. ``None`` for graded
    scores."""
    p_value: float
    """Exact McNemar test; for graded scores the paired randomisation test."""
    flips: Flips
    """From base to tuned."""


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
    """Exact McNemar test of the tuned model, plain against conjugated; for graded scores the paired
    randomisation test."""
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
        base: One truth value, or one score from 0 to 1, an example.
        tuned: The same for the tuned model.
        clusters: The source example of each example.
        rng: The source of randomness of the bootstrap.
        n_resamples: Bootstrap resamples.

    Example:
        >>> base, tuned = [True] * 60, [False] * 45 + [True] * 15
        >>> found = estimate_forgetting(base, tuned, range(60), rng=np.random.default_rng(0))
        >>> found.value, found.flips.lost, found.interval.low > 0
        (0.75, 45, True)
    """
    first, second = np.asarray(base, dtype=np.float64), np.asarray(tuned, dtype=np.float64)
    flips = count_flips(first, second)
    means = bootstrap_means(
        np.column_stack([first, second]),
        clusters,
        rng=rng,
        n_resamples=n_resamples,
        n_pseudo=N_PSEUDO,
    )
    return Forgetting(
        value=flips.difference if is_binary(first, second) else float(np.mean(first - second)),
        interval=percentile_interval(means[:, 0] - means[:, 1]),
        newcombe=_newcombe(first, second),
        p_value=_p_value(first, second, rng=rng, n_resamples=n_resamples),
        flips=flips,
    )


def mean_interval(
    scores: npt.ArrayLike,
    clusters: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
) -> Interval:
    """Return the clustered bootstrap interval of a mean of scores from 0 to 1, at 95 %."""
    column = np.asarray(scores, dtype=np.float64)[:, None]
    means = bootstrap_means(column, clusters, rng=rng, n_resamples=n_resamples, n_pseudo=N_PSEUDO)
    return percentile_interval(means[:, 0])


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
    interval = _recovery_interval(fall, gain, _newcombe(arms.base, arms.tuned))
    return Recovery(
        recovery=None if interval is None else (tuned_under - tuned) / (base - tuned),
        recovery_interval=interval,
        did=(tuned_under - tuned) - (base_under - base),
        did_interval=percentile_interval(gain - (means[:, 2] - means[:, 0])),
        p_value=_p_value(arms.tuned, arms.tuned_under, rng=rng, n_resamples=n_resamples),
        flips=flips,
    )


def _newcombe(first: Scores, second: Scores) -> Interval | None:
    """Return Newcombe's interval, which is for right and wrong answers only."""
    if not is_binary(first, second):
        return None
    return newcombe_paired_interval(count_flips(first, second))


def _p_value(first: Scores, second: Scores, *, rng: np.random.Generator, n_resamples: int) -> float:
    if is_binary(first, second):
        return mcnemar_exact(count_flips(first, second))
    return sign_flip_test(
        np.subtract(first, second, dtype=np.float64), rng=rng, n_resamples=n_resamples
    )


def _recovery_interval(fall: Array, gain: Array, newcombe: Interval | None) -> Interval | None:
    forgetting = percentile_interval(fall)
    if forgetting.low <= 0 or (newcombe is not None and newcombe.low <= 0):
        return None
    ratio = np.divide(gain, fall, out=np.full_like(gain, np.inf), where=fall > 0)
    lowest = np.where(fall > 0, ratio, -np.inf)
    return Interval(percentile_interval(lowest).low, percentile_interval(ratio).high)
