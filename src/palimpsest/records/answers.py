"""Answers as they are recorded: what was asked, said, understood and scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self

Outcome = Literal["right", "intruded", "broken"]


CUT = "cut"
"""The ``finish`` of a wrong answer that was ended once no further text could make it right."""

IN_ANSWER = "in the answer: "
"""What flags begin with that concern the answer, not the prompt."""


ATTEMPTED = "another ability attempted"
"""Flag of an intruded answer that is none of the accepted ones, and has their form."""


def answer_flag(flag: str) -> str:
    """Return a flag of an answer as it stands among those of its row."""
    return f"{IN_ANSWER}{flag}"


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
    """The model's text; for an answer chosen by likelihood, the choices as they were put to the
    model, with their natural-log probabilities, as a JSON object."""
    answer: str
    """The text after inversion."""
    right_answers: str
    """What ``answer`` is right if it begins with: a JSON list of texts, without those that the
    conjugation empties."""
    intruding_answers: str
    """What ``answer`` is intruded if it begins with, as a JSON list likewise."""
    outcome: Outcome
    finish: str
    """``stop``; ``length``, the limit of tokens; ``decided``, ended early as nothing could change
    the score; ``cut`` likewise, where it was wrong; ``filtered`` or ``refused`` by the server;
    ``chosen`` by likelihood; ``uninvertible`` if the conjugation's inverse failed."""
    round_trip: bool | None
    """Did ``invert(apply(prompt))`` return the prompt? ``None`` for native languages."""
    latency_seconds: float
    fidelity: float | None = None
    """How alike the two are: chrF of the round trip, from 0 to 1. ``None`` for native languages."""
    survival: float | None = None
    """Share of the prompt's labels, numbers, code, URLs and placeholders that the sent prompt still
    has; 1 for exact conjugations, which bring all of them back, ``None`` for native languages."""
    flags: str = ""
    """What went wrong in conjugating the prompt or inverting the answer, such as an unchanged line
    of a translation, joined by semicolons; else empty."""
    n_prompt_tokens: int | None = None
    """As the back end counts them; ``None`` where it does not say."""
    n_answer_tokens: int = 0
    """Generated tokens; 0 for an answer that was chosen by likelihood."""
    score: float | None = None
    """A graded score from 0 to 1, where the outcome does not say all: ``right`` is 1, and whatever
    is less counts as ``broken``."""
    scoring: str = ""
    """By what it was scored, as a JSON object with ``scorer``, ``right_form``, ``intruding_forms``
    and ``choices`` where there are any; empty for what begins with an accepted text."""

    @classmethod
    def of(cls, values: Sequence[Any]) -> Self:
        """Return the answer of these values: those of the key, then the others."""
        n_key = len(AnswerKey._fields)
        return cls(AnswerKey(*values[:n_key]), *values[n_key:])

    @property
    def source_id(self) -> str:
        """The source example."""
        return self.key.source_id

    @property
    def all_flags(self) -> list[str]:
        """The flags, one by one."""
        return self.flags.split("; ") if self.flags else []

    @property
    def attempted(self) -> bool:
        """Whether it is intruded by its form alone."""
        return answer_flag(ATTEMPTED) in self.all_flags


def points(outcome: Outcome, score: float | None) -> float:
    """Return from 0 to 1 how right an answer is: its graded score, or 1 where it is right."""
    return float(outcome == "right") if score is None else score


def score_of(row: AnswerRow) -> float:
    """Return the :func:`points` of an answer."""
    return points(row.outcome, row.score)
