"""One answer as it is recorded: enough to see what was asked, said, understood and scored."""

from __future__ import annotations

from typing import Literal, NamedTuple

Outcome = Literal["right", "intruded", "broken"]


class AnswerKey(NamedTuple):
    """What an answer belongs to; rows with another key are never reused."""

    model: str
    """Fingerprint of the model."""
    suite: str
    """Key of the suite: the same however many examples it has."""
    source_id: str
    """The source example."""
    conjugation: str
    """Fingerprint of the conjugation, or of the native language."""
    settings: str
    """Fingerprint of the generation settings and of the example itself."""


class AnswerRow(NamedTuple):
    """One answer with its key."""

    key: AnswerKey
    role: str
    """``base`` or ``tuned``."""
    via: str
    """The conjugation as the user wrote it; ``identity`` for plain prompts."""
    cell: str
    language: str
    prompt: str
    """As sent; chat messages as JSON."""
    raw: str
    """The model's text."""
    answer: str
    """The text after inversion."""
    right_answers: str
    """What ``answer`` is right if it begins with: a JSON list of texts, without those that the
    conjugation empties."""
    intruding_answers: str
    """What ``answer`` is intruded if it begins with, as a JSON list likewise."""
    outcome: Outcome
    finish: str
    """``stop``, ``decided``, ``length``; ``uninvertible`` if the conjugation's inverse failed."""
    round_trip: bool | None
    """Did ``invert(apply(prompt))`` return the prompt? ``None`` for native languages."""
    latency_seconds: float
