"""One example under one conjugation: what is sent, when the reply is settled, what it means."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import NamedTuple, Self

from palimpsest.errors import UserError
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.conjugations.via import Via
from palimpsest.lm.prompts import Prompt, map_text
from palimpsest.lm.suites.scoring import Scorer
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.answers import AnswerKey, AnswerRow

ANSWERS_VERSION = 1
"""Part of every key. Raise it when a release makes the same model and settings say other things."""

UNINVERTIBLE = "uninvertible"
"""The ``finish`` of an answer whose inversion failed: a bug in the conjugation, never hidden."""


@dataclass(frozen=True)
class Settings:
    """How a model is asked; part of every answer's key."""

    max_new_tokens: int = 10
    """How many tokens the model may say."""

    stop: tuple[str, ...] = ("\n",)
    """An answer ends before the first of these, read *after* inversion.

    Line breaks are also sent to the model as they are, since every text conjugation leaves the
    lines of a prompt in their order (``base64`` writes none, so one that a model writes ends its
    answer). Any other text may mean something else in conjugated form, where ``a`` under ``rot13``
    is an ``n``: it is looked for in the part of the inverted answer that is certain.
    """

    stop_when_decided: bool = True
    """Stop as soon as no further text can change how the answer is scored."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UserError(
                f"A model that may say {self.max_new_tokens} tokens cannot answer.",
                hint="Allow at least 1 new token.",
            )
        if "" in self.stop:
            raise UserError(
                "A stop string is empty: it would end every answer before its first letter.",
                hint="Leave it out.",
            )

    @classmethod
    def of(cls, suite: Suite) -> Self:
        """Return the settings that a suite asks for."""
        return cls(max_new_tokens=suite.max_new_tokens, stop=tuple(suite.stop))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the settings and of :data:`ANSWERS_VERSION`."""
        text = json.dumps([ANSWERS_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def sent_stops(self) -> tuple[str, ...]:
        """The stop strings that hold in conjugated text as well: those made of line breaks."""
        return tuple(stop for stop in self.stop if not stop.strip("\r\n"))


@dataclass(frozen=True)
class Question:
    """One example of a suite, put to a model under one conjugation."""

    via: Via
    example: Example
    settings: Settings
    key: AnswerKey

    @classmethod
    def of(cls, model: str, suite: Suite, via: Via, example: Example, settings: Settings) -> Self:
        """Return the question with the key of its answer; ``model`` is a fingerprint."""
        key = AnswerKey(
            model=model,
            suite=suite.key,
            source_id=example.source_id,
            conjugation=via.fingerprint,
            settings=f"{settings.fingerprint}-{example.fingerprint}",
        )
        return cls(via=via, example=example, settings=settings, key=key)

    @cached_property
    def sent(self) -> Prompt:
        """The prompt as the model sees it, ``s(P)``."""
        return map_text(self.example.prompt, self.via.conjugation.apply)

    @cached_property
    def expected(self) -> Expected:
        """What inverted answers are compared with."""
        return expected_under(self.via.conjugation, self.example)

    @cached_property
    def scorer(self) -> Scorer:
        """Scores inverted answers."""
        return Scorer(*self.expected)

    def is_settled(self, raw: str) -> bool:
        """Return whether nothing that the model may add to ``raw`` changes the outcome."""
        certain = self.via.conjugation.certain(raw)
        if any(stop in certain for stop in self.settings.stop):
            return True
        # The last characters may turn out to be the beginning of a stop string.
        n_open = max(map(len, self.settings.stop), default=1) - 1
        return self.scorer.decided(certain[: len(certain) - n_open])

    def row(self, *, role: str, raw: str, finish: str, latency_seconds: float) -> AnswerRow:
        """Return the answer as it is recorded, inverted and scored."""
        try:
            answer = _cut(self.via.conjugation.invert(raw), self.settings.stop)
            outcome = self.scorer.outcome(answer)
        except Exception:  # of a plugin; ours never fail, which the laws test
            answer, outcome, finish = "", "broken", UNINVERTIBLE
        right, intruding = self._expected_if_possible()
        return AnswerRow(
            key=self.key,
            role=role,
            via=self.via.name,
            cell=self.example.cell,
            language=self.example.language,
            prompt=as_recorded(self.sent),
            raw=raw,
            answer=answer,
            right_answers=json.dumps(right, ensure_ascii=False),
            intruding_answers=json.dumps(intruding, ensure_ascii=False),
            outcome=outcome,
            finish=finish,
            round_trip=self._comes_back(),
            latency_seconds=latency_seconds,
        )

    def _expected_if_possible(self) -> Expected:
        try:
            return self.expected
        except Exception:  # of a plugin: see row()
            return Expected(self.example.right, self.example.intruding)

    def _comes_back(self) -> bool | None:
        if self.via.language is not None and self.via.conjugation.name == "identity":
            return None
        try:
            return map_text(self.sent, self.via.conjugation.invert) == self.example.prompt
        except Exception:  # of a plugin: see row()
            return False


class Expected(NamedTuple):
    """The texts that inverted answers are compared with, each once and none of them blank."""

    right: tuple[str, ...]
    intruding: tuple[str, ...]


def expected_under(conjugation: TextConjugation, example: Example) -> Expected:
    """Return what the inverted answers to an example are compared with.

    A lossy conjugation cannot give back every expected text: answers are compared with its
    *canonical image* ``invert(apply(text))``. For an exact one that is the text itself.
    """

    def image(text: str) -> str:
        return conjugation.invert(conjugation.apply(text))

    canonical: Callable[[str], str] = str if conjugation.exact else image
    return Expected(
        right=_distinct(map(canonical, example.right)),
        intruding=_distinct(map(canonical, example.intruding)),
    )


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text.strip()))


def scorer_under(conjugation: TextConjugation, example: Example) -> Scorer:
    """Return what scores the inverted answers to an example."""
    return Scorer(*expected_under(conjugation, example))


def as_recorded(prompt: Prompt) -> str:
    """Return a prompt as text: messages become JSON.

    Example:
        >>> from palimpsest.lm.prompts import Message
        >>> as_recorded((Message("user", "Été?"),))
        '[{"role": "user", "content": "Été?"}]'
    """
    if isinstance(prompt, str):
        return prompt
    return json.dumps([asdict(message) for message in prompt], ensure_ascii=False)


def _cut(answer: str, stops: tuple[str, ...]) -> str:
    ends = [answer.find(stop) for stop in stops if stop in answer]
    return answer[: min(ends)] if ends else answer
