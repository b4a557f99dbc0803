r"""Score of a conjugation without labels: the formula behind ``palimpsest recommend``.

Nobody knows the right answers, but the base model's plain ones stand for them, and the tuned
model's for the other task's, on the prompts where the two differ and the base *confirms* its
answer: says the same under at least one conjugation that has an inverse. Of these prompts,

.. math:: \text{score}(s) = \text{share on which } T(s(P)) \text{ begins as } s(B(P))

or, read back, as :math:`B(P)`: the recovery of ``diagnose``, with the base's answers for labels. 0
is as lost as when asked plainly, 1 is all of it. An answer is its first word here. In another
language of the prompts, which has no inverse, :math:`B` is asked there; it does not count where it
says, letter for letter, what the tuned model says plainly: numbers are the same in every language.

What the base cannot read needs no term of its own, since the tuned model does not answer in it
either; nor does what is lost on the way through s. Nothing here has a parameter that was fitted;
``experiments/recommend_plan.md`` says what was tried, and what decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palimpsest.stats import Array, Interval, bootstrap_means, wilson_interval


class Term(NamedTuple):
    """A share with its interval."""

    value: float
    """NaN if no prompt counts."""
    ci95: Interval | None
    """Wilson's interval; none if no prompt counts."""


class Estimated(NamedTuple):
    """The score of one conjugation."""

    score: Term
    n_prompts: int
    """Prompts that count."""
    best_share: float
    """Share of the resamples in which it is the highest of all that are eligible."""


def estimate(
    returned: Sequence[Array],
    eligible: Sequence[bool],
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
) -> list[Estimated]:
    """Estimate every conjugation's score, and how often it is the best in a bootstrap.

    Args:
        returned: Of each conjugation, whether the tuned model answers each prompt under it as the
            base does plainly; NaN where the prompt does not count. Prompts in the same order.
        eligible: Which may be the best.
        rng: The source of randomness.
        n_resamples: Bootstrap resamples, of prompts.

    Example:
        >>> one, other = np.array([1.0, 1.0, 0.0]), np.array([0.0, np.nan, 0.0])
        >>> for each in estimate([one, other], [True, True], rng=np.random.default_rng(0)):
        ...     print(round(each.score.value, 2), each.n_prompts)
        0.67 3
        0.0 2
    """
    if not returned:
        return []
    known = [np.isfinite(each) for each in returned]
    pairs = [
        (np.where(counts, each, 0.0), counts.astype(float))
        for each, counts in zip(returned, known, strict=True)
    ]
    columns = np.column_stack([column for pair in pairs for column in pair])
    means = bootstrap_means(columns, np.arange(len(columns)), rng=rng, n_resamples=n_resamples)
    shares = _best_shares(means[:, 0::2], means[:, 1::2], np.asarray(eligible))
    return [
        Estimated(_term(int(hits.sum()), n), n, share)
        for (hits, counts), share in zip(pairs, shares, strict=True)
        for n in [int(counts.sum())]
    ]


def _term(n_returned: int, n: int) -> Term:
    return Term(n_returned / n, wilson_interval(n_returned, n)) if n else Term(np.nan, None)


def _best_shares(hits: Array, counts: Array, eligible: npt.NDArray[np.bool_]) -> list[float]:
    may = (counts > 0) & eligible
    scores = np.divide(hits, counts, out=np.full(hits.shape, -np.inf), where=may)
    best = np.where(may.any(axis=1), scores.argmax(axis=1), -1)
    return [float(np.mean(best == place)) for place in range(scores.shape[1])]
