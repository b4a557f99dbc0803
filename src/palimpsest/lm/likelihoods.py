"""Likelihoods of choices: what a model says of each, how it is recorded, which one is taken."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

TIE = 1e-5
"""Nats: likelihoods nearer to each other than this may be ranked either way by two programs that
compute in single precision."""

TIED = "a tie: the likeliest choices are within 1e-5 nats of each other"
"""Flag of an answer that was chosen."""


class Likelihood(NamedTuple):
    """How likely a continuation is."""

    log_probability: float
    """Natural; minus infinity for one that does not fit into the model's context."""

    margin: float | None = None
    """The least that one of its tokens has before the likeliest other token in its place, in nats;
    negative where another is likelier. ``None`` where the back end does not say."""

    cut: bool = False
    """Whether the beginning of the context was left out."""

    @property
    def greedy(self) -> bool | None:
        """Whether the model, asked greedily, would have said it."""
        return None if self.margin is None else self.margin > 0


def choices_as_raw(sent: Sequence[str], likelihoods: Sequence[Likelihood]) -> str:
    """Return sent choices with their natural-log probabilities as they are recorded.

    Choices that the model cannot take, being too long for its context, are null; where a margin is
    known it stands behind.

    Example:
        >>> choices_as_raw([" Yes", " No"], [Likelihood(-0.25), Likelihood(-math.inf)])
        '{" Yes": -0.25, " No": null}'
        >>> choices_as_raw([" Yes"], [Likelihood(-0.25, 2.5)])
        '{" Yes": [-0.25, 2.5]}'
    """
    recorded = [_recorded(likelihood) for likelihood in likelihoods]
    return json.dumps(dict(zip(sent, recorded, strict=True)), ensure_ascii=False)


def _recorded(likelihood: Likelihood) -> float | list[float] | None:
    value, margin = likelihood.log_probability, likelihood.margin
    if not math.isfinite(value):
        return None
    return value if margin is None else [value, margin]


def choice_likelihoods(raw: str, sent: Sequence[str]) -> list[Likelihood]:
    """Return what :func:`choices_as_raw` recorded, in order.

    Example:
        >>> [each.greedy for each in choice_likelihoods('{" Yes": [-0.25, 2.5]}', [" Yes"])]
        [True]
    """
    found = json.loads(raw)
    return [_read(found[text]) for text in sent]


def _read(value: float | list[float] | None) -> Likelihood:
    if value is None:
        return Likelihood(-math.inf)
    if isinstance(value, list):
        return Likelihood(float(value[0]), float(value[1]))
    return Likelihood(float(value))


def likeliest(scores: Sequence[float]) -> int | None:
    """Return the index of the highest score; ``None`` if several are, or none is possible.

    Example:
        >>> likeliest([-1.5, -0.25]), likeliest([-1.0, -1.0]), likeliest([-math.inf])
        (1, None, None)
    """
    best = max(scores)
    if best == -math.inf or list(scores).count(best) > 1:
        return None
    return list(scores).index(best)


def is_tie(scores: Sequence[float], lengths: Sequence[float] | None = None) -> bool:
    """Return whether the two best scores are within :data:`TIE` nats of each other.

    Args:
        scores: Of the choices, in nats.
        lengths: What each was divided by; by default nothing.

    Example:
        >>> is_tie([-1.0, -1.000001, -5.0]), is_tie([-1.0, -1.1]), is_tie([-1.0])
        (True, False, False)
    """
    lengths = lengths or [1.0] * len(scores)
    ranked = sorted(zip(scores, lengths, strict=True), reverse=True)
    if len(ranked) < 2 or ranked[1][0] == -math.inf:
        return False
    (first, one), (second, other) = ranked[:2]
    return (first - second) * max(one, other) <= TIE
