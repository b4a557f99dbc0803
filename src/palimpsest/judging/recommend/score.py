r"""Score of a conjugation without labels: the formula behind ``palimpsest recommend``.

A tuned model behaves like a mixture that answers as the tuning taught it with the weight
:math:`g(P)`, its belief that the prompt comes from the tuning distribution (``docs/theory.md``).
By Bayes' rule the log-odds of that belief are, but for a constant, the evidence

.. math:: \ell(x) = \log_2 p_\text{tuned}(x) - \log_2 p_\text{base}(x)

in bits. A conjugation promises most if it takes the evidence away, if the base model still
understands what it is sent, and if the prompt survives. With the bytes :math:`n(P)` of the plain
prompt, the bits :math:`I(x) = -\log_2 p_\text{base}(x)`, and sums over the prompts:

.. math::
   \text{shift} &= \textstyle\sum [\ell(P) - \ell(s(P))] \,/\, \sum n(P) \\
   \text{handling} &= \textstyle\sum [8\,n(P) - I(s(P))] \,/\, \sum [8\,n(P) - I(P)] \\
   \text{fidelity} &= \text{mean chrF of } s^{-1}(s(P)) \text{ against } P \\
   \text{score} &= \text{shift} \times \text{handling} \times \text{fidelity}

*Shift* is the fall of the log-odds. It counts whole prompts, as the belief does, and is divided by
the bytes of the plain prompt for every conjugation alike, only to be readable.

*Handling* is the share of what the base model knows about the plain prompt that it still knows
about the conjugated one. As ``s`` can be undone, a model that has mastered it needs no more bits
for s(P) than for P; one that knows nothing of it needs the 8 bits a byte of raw data. It is held
between 0 and 1.

A negative shift is not made better by poor handling: it is its own score. Cost is shown and breaks
ties; it is a price, not a promise.

Without a base model, :math:`\ell = \log_2 p_\text{tuned}`, the familiarity of the prompt, and
handling is that of the tuned model. Then both terms come from one number, and the score is highest
for prompts half way between plain and raw data: a rule of thumb, where the ratio is a posterior.

Nothing here has a parameter that was fitted. Bits of a whole text do not depend on how a tokenizer
divides it, so models with different tokenizers can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palimpsest.stats import Array, Interval, bootstrap_means, percentile_interval

RAW_BITS = 8.0
"""Bits of a byte for someone who knows nothing about the text."""

MIN_HANDLING = 0.5
"""Below it the base model has lost more than half of what it knows about the plain prompts."""

MIN_FIDELITY = 0.5
"""Below it most of the prompt does not come back from the conjugation."""

MIN_FITTING = 0.5
"""Below it most prompts are too long for a model's context once conjugated."""


@dataclass(frozen=True)
class Evidence:
    """What the models and the conjugation itself say of every prompt; arrays of one length.

    Bits are infinite where a text does not fit into the model's context, and NaN where the prompt
    has no version of this kind. Without a base model its bits are those of the tuned one.
    """

    n_bytes: Array
    """UTF-8 bytes of the plain prompts."""
    plain_base: Array
    """Bits that the base model needs for the plain prompts."""
    plain_tuned: Array
    """Bits that the tuned model needs for them."""
    base: Array
    """Bits that the base model needs for the conjugated prompts."""
    tuned: Array
    """Bits that the tuned model needs for them."""
    fidelity: Array
    """chrF of the round trip, from 0 to 1."""
    has_base: bool = True
    """Whether there is a base model."""

    @property
    def included(self) -> npt.NDArray[np.bool_]:
        """Which prompts count: those that fit, plain and conjugated, into both models."""
        bits = np.stack([self.plain_base, self.plain_tuned, self.base, self.tuned])
        return np.asarray(np.isfinite(bits).all(axis=0))

    @property
    def n_prompts(self) -> int:
        """How many prompts count."""
        return int(self.included.sum())

    @property
    def columns(self) -> Array:
        """The sums that the score is made of, one row a prompt; zero where it does not count."""
        rows = np.column_stack([self.n_bytes, self.plain_base, self.plain_tuned])
        rows = np.column_stack([rows, self.base, self.tuned, self.fidelity, np.ones(len(rows))])
        counting = np.where(self.included[:, None], rows, 0.0)
        n_bytes, plain_base, plain_tuned, base, tuned, fidelity, one = counting.T
        drop = tuned - plain_tuned
        if self.has_base:
            drop = drop - (base - plain_base)
        raw = RAW_BITS * n_bytes
        return np.column_stack([drop, n_bytes, raw - base, raw - plain_base, fidelity, one])

    @property
    def terms(self) -> Terms:
        """The terms of the score over all prompts; NaN where no prompt counts."""
        return terms(self.columns.sum(axis=0))


class Terms(NamedTuple):
    """The terms of the score and the score itself: single numbers, or one for each resample."""

    shift: Array
    """Bits per byte of the plain prompt."""
    handling: Array
    """From 0 to 1."""
    fidelity: Array
    """From 0 to 1."""
    score: Array
    """Bits per byte of the plain prompt."""


class Term(NamedTuple):
    """One term of the score of one conjugation."""

    value: float
    """NaN if no prompt counts."""
    ci95: Interval | None
    """Percentile interval of the bootstrap over prompts; none from a single prompt."""


class ScoreEstimate(NamedTuple):
    """The terms of one conjugation, estimated."""

    shift: Term
    handling: Term
    fidelity: Term
    score: Term
    best_share: float
    """Share of the resamples in which its score is the highest of all that are eligible."""


def estimate(
    evidence: Sequence[Evidence],
    eligible: Sequence[bool] | None = None,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
) -> list[ScoreEstimate]:
    """Estimate every conjugation's terms, with one bootstrap over prompts for all of them.

    Args:
        evidence: Of each conjugation, on the same prompts in the same order.
        eligible: Which may be the best; all by default.
        rng: The source of randomness.
        n_resamples: Bootstrap resamples.

    Example:
        >>> bits = [np.full(3, value) for value in (100.0, 90.0, 110.0, 130.0)]
        >>> one = Evidence(np.full(3, 50.0), *bits, fidelity=np.ones(3))
        >>> [found] = estimate([one], rng=np.random.default_rng(0))
        >>> round(found.shift.value, 2), round(found.handling.value, 2)
        (0.6, 0.97)
    """
    if not evidence:
        return []
    columns = [one.columns for one in evidence]
    n_prompts, width = columns[0].shape
    means = bootstrap_means(
        np.hstack(columns), np.arange(n_prompts), rng=rng, n_resamples=n_resamples
    )
    resampled = [
        terms(means[:, start : start + width]) for start in range(0, means.shape[1], width)
    ]
    shares = _best_shares([one.score for one in resampled], eligible or [True] * len(columns))
    return [
        _estimate(one, samples, share)
        for one, samples, share in zip(evidence, resampled, shares, strict=True)
    ]


def _estimate(one: Evidence, samples: Terms, best_share: float) -> ScoreEstimate:
    shift, handling, fidelity, score = (
        _term(value, values, one.n_prompts)
        for value, values in zip(one.terms, samples, strict=True)
    )
    return ScoreEstimate(shift, handling, fidelity, score, best_share)


def terms(sums: Array) -> Terms:
    """Return the terms that follow from sums (or means) of :attr:`Evidence.columns`."""
    drop, n_bytes, saved, saved_plain, fidelity, n = np.moveaxis(sums, -1, 0)
    shift = _divided(drop, n_bytes)
    # Where the base model knows nothing even of the plain prompts, it can lose nothing: 0.
    handling = np.clip(saved / np.where(saved_plain > 0, saved_plain, np.inf), 0.0, 1.0)
    kept = _divided(fidelity, n)
    return Terms(shift, handling, kept, np.where(shift > 0, shift * handling * kept, shift))


def _divided(values: Array, by: Array) -> Array:
    found: Array = np.divide(values, by, out=np.full(np.shape(values), np.nan), where=by > 0)
    return found


def _term(value: Array, resampled: Array, n_prompts: int) -> Term:
    found = resampled[np.isfinite(resampled)]
    interval = percentile_interval(found) if n_prompts > 1 and len(found) else None
    return Term(float(value), interval)


def _best_shares(scores: Sequence[Array], eligible: Sequence[bool]) -> list[float]:
    if not any(eligible):
        return [0.0] * len(scores)
    candidates = [
        np.nan_to_num(score, nan=-np.inf) if may else np.full_like(score, -np.inf)
        for score, may in zip(scores, eligible, strict=True)
    ]
    best = np.argmax(candidates, axis=0)
    return [float(np.mean(best == place)) for place in range(len(scores))]


class Gates(NamedTuple):
    """What a conjugation must reach to be ranked."""

    min_handling: float = MIN_HANDLING
    min_fidelity: float = MIN_FIDELITY

    def why_excluded(self, evidence: Evidence, *, n_changed: int) -> str | None:
        """Return why a conjugation is out of the ranking, or ``None`` if it is in.

        Args:
            evidence: What is known of it.
            n_changed: How many prompts it changes at all.
        """
        n_asked = len(evidence.n_bytes)
        if not n_changed:
            return "leaves every prompt as it is"
        if evidence.n_prompts < MIN_FITTING * n_asked:
            return f"usable for only {evidence.n_prompts} of {n_asked} prompts"
        found = evidence.terms
        if found.handling < self.min_handling:
            model = "base" if evidence.has_base else "tuned"
            return (
                f"the {model} model cannot handle it ({found.handling:.2f} is below "
                f"{self.min_handling:.2f})"
            )
        if found.fidelity < self.min_fidelity:
            return f"too little comes back ({found.fidelity:.2f} is below {self.min_fidelity:.2f})"
        return None
