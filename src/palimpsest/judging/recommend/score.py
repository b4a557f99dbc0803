r"""Score of a conjugation without labels: the formula behind ``palimpsest recommend``.

Nobody knows the right answers, but the base model's plain ones stand for them: the recovery of
``diagnose``, with the base's answers for labels and probabilities for counts. Let *b* be the
opening of the base's answer to a plain prompt P (its first word), :math:`p_B` and :math:`p_T` what
the base and the tuned model give it, and :math:`b_s` the same answer's opening under the
conjugation s: that of s of the whole answer, or, in another language of the prompts, that of the
base's own answer there. With sums over the prompts on which tuning moved away from the base's
answer, :math:`p_T(b \mid P) < p_B(b \mid P)`,

.. math:: \text{score}(s) = \frac{\sum [p_T(b_s \mid s(P)) - p_T(b \mid P)]}
                                 {\sum [p_B(b \mid P) - p_T(b \mid P)]}

is the share of the lost probability that the conjugation brings back: 0 is as lost as when asked
plainly, 1 is all of it. Where tuning made the base's answer likelier still, it may be the other
task's, and the prompt counts for nothing. Nor does a version in another language bring anything
back where the base answers it, letter for letter, as the tuned model answers the plain prompt:
numbers are the same in every language.

What the base cannot read needs no term of its own, since the tuned model cannot say s(b) behind it;
nor does what is lost on the way through s. Nothing here has a parameter that was fitted;
``experiments/recommend_plan.md`` was written before the score was computed on anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palimpsest.stats import Array, Interval, bootstrap_means, percentile_interval


@dataclass(frozen=True)
class Evidence:
    """Probabilities of the base's answers under one conjugation; arrays of one length.

    NaN where there is no such answer, no version of the prompt, or no room in a context.
    """

    base: Array
    """What the base gives its answer, plainly."""
    tuned: Array
    """What the tuned model gives it, plainly."""
    under: Array
    """What the tuned model gives it under the conjugation."""

    @property
    def counts(self) -> npt.NDArray[np.bool_]:
        """Which prompts count: those on which tuning moved away from the base's answer."""
        return np.asarray((self.tuned < self.base) & np.isfinite(self.under))

    @property
    def columns(self) -> Array:
        """What came back and what was lost of each prompt; zero where it does not count."""
        both = np.column_stack([self.under - self.tuned, self.base - self.tuned])
        return np.where(self.counts[:, None], both, 0.0)


class Term(NamedTuple):
    """A figure of one conjugation."""

    value: float
    """NaN if no prompt counts."""
    ci95: Interval | None
    """Percentile interval of the bootstrap over prompts; none from a single prompt."""


class Estimated(NamedTuple):
    """The score of one conjugation."""

    score: Term
    best_share: float
    """Share of the resamples in which it is the highest of all that are eligible."""


def estimate(
    evidence: Sequence[Evidence],
    eligible: Sequence[bool],
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
) -> list[Estimated]:
    """Estimate every conjugation's score, with one bootstrap over prompts for all of them.

    Args:
        evidence: Of each conjugation, on the same prompts in the same order.
        eligible: Which may be the best.
        rng: The source of randomness.
        n_resamples: Bootstrap resamples.

    Example:
        >>> half = Evidence(base=np.full(3, 0.9), tuned=np.full(3, 0.1), under=np.full(3, 0.5))
        >>> [found] = estimate([half], [True], rng=np.random.default_rng(0))
        >>> round(found.score.value, 2), found.best_share
        (0.5, 1.0)
    """
    if not evidence:
        return []
    columns = np.hstack([one.columns for one in evidence])
    means = bootstrap_means(columns, np.arange(len(columns)), rng=rng, n_resamples=n_resamples)
    resampled = _divided(means[:, 0::2], means[:, 1::2])
    values = _divided(columns[:, 0::2].sum(axis=0), columns[:, 1::2].sum(axis=0))
    shares = _best_shares(resampled, np.asarray(eligible))
    return [
        Estimated(_term(value, samples, int(one.counts.sum())), share)
        for one, value, samples, share in zip(evidence, values, resampled.T, shares, strict=True)
    ]


def _divided(values: Array, by: Array) -> Array:
    found: Array = np.divide(values, by, out=np.full(np.shape(values), np.nan), where=by > 0)
    return found


def _term(value: float, resampled: Array, n_prompts: int) -> Term:
    found = resampled[np.isfinite(resampled)]
    interval = percentile_interval(found) if n_prompts > 1 and len(found) else None
    return Term(float(value), interval)


def _best_shares(scores: Array, eligible: npt.NDArray[np.bool_]) -> list[float]:
    known = np.where(np.isfinite(scores) & eligible, scores, -np.inf)
    best = np.where(np.isfinite(known.max(axis=1)), known.argmax(axis=1), -1)
    return [float(np.mean(best == place)) for place in range(scores.shape[1])]
