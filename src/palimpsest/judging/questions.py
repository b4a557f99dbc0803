"""One example under one conjugation: what is sent, when the reply is settled, what it means."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import NamedTuple, Self

from palimpsest.errors import UserError
from palimpsest.files import digest_json
from palimpsest.judging.via import Via
from palimpsest.lm.choosing import chosen, sent_choices
from palimpsest.lm.conjugations.fidelity import round_trip_chrf
from palimpsest.lm.conjugations.spans import survival
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.prompts import Prompt, map_text, texts_of
from palimpsest.lm.scoring.scorers import Scorer, scorer_for
from palimpsest.lm.stopping import cut
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.answers import IN_ANSWER, AnswerKey, AnswerRow, Outcome

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

    by_likelihood: bool = True
    """Where an example has choices, let the model say how likely each is instead of generating."""

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
        return digest_json([ANSWERS_VERSION, asdict(self)])

    @property
    def sent_stops(self) -> tuple[str, ...]:
        """The stop strings that hold in conjugated text as well: those made of line breaks."""
        return tuple(stop for stop in self.stop if not stop.strip("\r\n"))


class Reply(NamedTuple):
    """What a model said, before it is inverted and scored."""

    raw: str
    finish: str
    latency_seconds: float
    n_prompt_tokens: int | None = None
    n_answer_tokens: int = 0


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

    @property
    def by_likelihood(self) -> bool:
        """Whether the answer is the likeliest of given choices."""
        return self.settings.by_likelihood and bool(self.example.choices)

    @cached_property
    def sent_choices(self) -> tuple[str, ...]:
        """The choices as the model sees them."""
        return sent_choices(self.sent, self.example.choices, self.via.conjugation)

    @cached_property
    def expected(self) -> Expected:
        """What inverted answers are compared with."""
        return expected_under(self.via.conjugation, self.example)

    @cached_property
    def scorer(self) -> Scorer:
        """Scores inverted answers."""
        return scorer_for(*self.expected, self.example.scorer)

    def is_settled(self, raw: str) -> bool:
        """Return whether nothing that the model may add to ``raw`` changes the outcome."""
        certain = self.via.conjugation.certain(raw)
        if any(stop in certain for stop in self.settings.stop):
            return True
        # The last characters may turn out to be the beginning of a stop string.
        n_open = max(map(len, self.settings.stop), default=1) - 1
        return self.scorer.decided(certain[: len(certain) - n_open])

    def row(self, reply: Reply, *, role: str) -> AnswerRow:
        """Return the answer as it is recorded, inverted and scored."""
        finish = reply.finish
        try:
            answer, outcome = self._read(reply.raw)
        except UserError:  # a translator that is down, say: no fault of the answer
            raise
        except Exception:  # of a plugin; ours never fail, which the laws test
            answer, outcome, finish = "", "broken", UNINVERTIBLE
        right, intruding = self._expected_if_possible()
        fidelity = self._fidelity
        return AnswerRow(
            key=self.key,
            role=role,
            via=self.via.name,
            cell=self.example.cell,
            language=self.example.language,
            prompt=as_recorded(self.sent),
            raw=reply.raw,
            answer=answer,
            right_answers=json.dumps(right, ensure_ascii=False),
            intruding_answers=json.dumps(intruding, ensure_ascii=False),
            outcome=outcome,
            finish=finish,
            round_trip=fidelity.round_trip,
            fidelity=fidelity.chrf,
            survival=fidelity.survival,
            flags="; ".join((*fidelity.flags, *self._answer_flags(reply.raw))),
            n_prompt_tokens=reply.n_prompt_tokens,
            n_answer_tokens=reply.n_answer_tokens,
            latency_seconds=reply.latency_seconds,
        )

    def _answer_flags(self, raw: str) -> list[str]:
        if self.by_likelihood:
            return []
        try:
            return [f"{IN_ANSWER}{flag}" for flag in self.via.conjugation.answer_flags(raw)]
        except UserError:
            raise
        except Exception:  # of a plugin: see row()
            return []

    def _read(self, raw: str) -> tuple[str, Outcome]:
        """Return the inverted answer and its score."""
        if self.by_likelihood:
            index = chosen(raw, self.sent_choices)
            answer = "" if index is None else self.example.choices[index]
            plain = scorer_for(self.example.right, self.example.intruding, self.example.scorer)
            return answer, plain.outcome(answer)
        answer = cut(self.via.conjugation.invert(raw), self.settings.stop)
        return answer, self.scorer.outcome(answer)

    def _expected_if_possible(self) -> Expected:
        plain = Expected(self.example.right, self.example.intruding)
        if self.by_likelihood:
            return plain
        try:
            return self.expected
        except UserError:
            raise
        except Exception:  # of a plugin: see row()
            return plain

    @cached_property
    def _fidelity(self) -> _Fidelity:
        if self.via.language is not None and self.via.conjugation.name == "identity":
            return _Fidelity(None, None, None, ())
        conjugation, prompt = self.via.conjugation, self.example.prompt
        texts, sent = texts_of(prompt), texts_of(self.sent)
        flags = tuple(dict.fromkeys(flag for text in texts for flag in conjugation.flags(text)))
        try:
            back = tuple(map(conjugation.invert, sent))
        except UserError:
            raise
        except Exception:  # of a plugin: see row()
            return _Fidelity(False, 0.0, 0.0, flags)
        if conjugation.exact and back == texts:
            return _Fidelity(True, 1.0, 1.0, flags)
        before, after = "\n".join(texts), "\n".join(sent)
        chrf = round_trip_chrf(before, "\n".join(back))
        return _Fidelity(back == texts, chrf, survival(before, after), flags)


class _Fidelity(NamedTuple):
    """How well a prompt survives its conjugation."""

    round_trip: bool | None
    chrf: float | None
    survival: float | None
    flags: tuple[str, ...]


class Expected(NamedTuple):
    """The texts that inverted answers are compared with, each once and none of them blank."""

    right: tuple[str, ...]
    intruding: tuple[str, ...]


def expected_under(conjugation: TextConjugation, example: Example) -> Expected:
    """Return what the inverted answers to an example are compared with.

    A lossy conjugation cannot give back every expected text: answers are compared with its
    *canonical image* ``invert(apply(text))``. For an exact one that is the text itself. Where a
    text is the beginning of a whole answer that the example gives, as many words from the
    beginning of the whole answer's image count as well: translated alone, the first word of a
    sentence may come out otherwise than in it. Where a conjugation rephrases, so do the expected
    texts themselves, whatever the case of their first letter.
    """

    def image(text: str) -> str:
        return conjugation.invert(conjugation.apply(text))

    def images(ability: str, texts: Sequence[str]) -> Iterator[str]:
        whole = example.whole_answers.get(ability)
        for text in texts:
            yield text if conjugation.exact else image(text)
            if whole is not None and not conjugation.exact:
                yield " ".join(image(whole).split()[: len(text.split())])
            if conjugation.rephrases:
                yield text
                yield from _with_other_first_letter(text, image(text))

    ability, *others = example.answers.items()
    return Expected(
        right=_distinct(images(*ability)),
        intruding=_distinct(text for other in others for text in images(*other)),
    )


def _with_other_first_letter(*texts: str) -> Iterator[str]:
    for text in texts:
        start = len(text) - len(text.lstrip())
        yield text[:start] + text[start : start + 1].swapcase() + text[start + 1 :]


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text.strip()))


def scorer_under(conjugation: TextConjugation, example: Example) -> Scorer:
    """Return what scores the inverted answers to an example."""
    return scorer_for(*expected_under(conjugation, example), example.scorer)


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
