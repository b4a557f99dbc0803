"""Questions: an example under one way of asking, from what is sent to what the answer means."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple, Self

from palimpsest.errors import UserError
from palimpsest.files import digest_json
from palimpsest.judging.via import Via
from palimpsest.lm import (
    TIED,
    ConjugationError,
    Exchange,
    Fidelity,
    Likelihood,
    Prompt,
    choice_likelihoods,
    is_tie,
    joined_choices,
    likeliest,
    prepare_answers,
    sent_choices,
    texts_of,
)
from palimpsest.lm.conjugations import TextConjugation
from palimpsest.lm.models import Sampling
from palimpsest.lm.scoring import ScoredAnswer, Scorer, prepare_all, scorer_class
from palimpsest.lm.suites import Example, Suite
from palimpsest.records import CUT, AnswerKey, AnswerRow, Outcome, answer_flag

ANSWERS_VERSION = 1
"""Part of every key. Raise it when a release makes the same model and settings say other things."""

UNINVERTIBLE = "uninvertible"
"""The ``finish`` of an answer whose inversion failed: a bug in the conjugation, never hidden."""

TOO_LONG = "the prompt leaves no room for an answer in the model's context"
FILTERED = "a content filter of the server stopped it"
REFUSED = "the server or the model refused it"
PROMPT_CUT = "its beginning was left out, as lm-evaluation-harness does where there is no room"
"""Flags of questions that got no answer."""

_WHY_NONE = {"filtered": FILTERED, "refused": REFUSED}


@dataclass(frozen=True)
class Settings:
    """How a model is asked; part of every answer's key."""

    max_new_tokens: int = 10
    """How many tokens the model may say."""

    stop: tuple[str, ...] = ("\n",)
    """An answer ends before the first of these, as they stand in the inverted answer."""

    stop_when_decided: bool = True
    """Stop as soon as no further text can change how the answer is scored."""

    by_likelihood: bool = True
    """Where an example has choices, let the model say how likely each is instead of generating."""

    as_lm_eval: bool = False
    """Whether to ask to the token as lm-evaluation-harness; stands in the example's fingerprint."""

    sampling: Sampling | None = None
    """How an answer is drawn; by default it is greedy."""

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

    def for_example(self, example: Example) -> Settings:
        """Return the settings with what an example has otherwise than its suite."""
        if (example.max_new_tokens, example.stop, example.as_lm_eval) == (None, None, False):
            return self
        stop = self.stop if example.stop is None else example.stop
        limit = example.max_new_tokens or self.max_new_tokens
        return replace(self, max_new_tokens=limit, stop=stop, as_lm_eval=example.as_lm_eval)

    def __hash__(self) -> int:
        """Return that of nearly everything; the same text for equal ones."""
        return hash(self.fingerprint)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the settings and of :data:`ANSWERS_VERSION`."""
        values = {name: value for name, value in asdict(self).items() if name != "as_lm_eval"}
        if self.sampling is None:
            del values["sampling"]  # answers of before there was any stay what they are
        return digest_json([ANSWERS_VERSION, values])


class RawAnswer(NamedTuple):
    """What a model said, before it is inverted and scored."""

    raw: str
    finish: str
    latency_seconds: float
    n_prompt_tokens: int | None = None
    n_answer_tokens: int = 0
    prompt_cut: bool = False

    @property
    def cut_off(self) -> bool:
        """Whether the model might have gone on."""
        return self.finish in ("decided", CUT, "length", "filtered")

    @property
    def why_none(self) -> str | None:
        """Why the model gave no answer of its own, if it did not."""
        if self.finish == "length" and not self.raw and not self.n_answer_tokens:
            return TOO_LONG
        return _WHY_NONE.get(self.finish)


@dataclass(frozen=True)
class Question:
    """One example of a suite, put to a model under one conjugation."""

    via: Via
    example: Example
    settings: Settings
    key: AnswerKey
    exchange: Exchange
    """How prompts and answers pass through the conjugation."""
    by_likelihood: bool
    """Whether the answer is the likeliest of given choices."""

    @classmethod
    def of(cls, model: str, suite: Suite, via: Via, example: Example, settings: Settings) -> Self:
        """Return the question with the key of its answer; ``model`` is a fingerprint."""
        settings = settings.for_example(example)
        key = AnswerKey(
            model=model,
            suite=suite.key,
            source_id=example.source_id,
            conjugation=via.fingerprint,
            settings=f"{settings.fingerprint}-{example.fingerprint}",
        )
        exchange = _exchange(via.conjugation, settings.stop)
        by_likelihood = bool(example.choices) and settings.by_likelihood
        return cls(via, example, settings, key, exchange, by_likelihood)

    @cached_property
    def sent(self) -> Prompt:
        """The prompt as the model sees it, ``s(P)`` in the form that was asked for.

        Raises:
            ConjugationError: The conjugation fails on it.
            UserError: A template refuses it.
        """
        form = self.via.form
        return self._conjugate() if form is None else form.of(self._conjugated)

    @cached_property
    def request(self) -> bytes:
        """A hash of all that decides what the model says; equal requests have equal answers.

        That is the model, the prompt as it is sent, text or messages, what ends an answer, how long
        it may be, which sample it is, and the choices where they are weighed. Which example it is,
        what its answer is compared with and which conjugation wrote the prompt play no part.
        """
        model, settings = self.key.model, self.settings
        if self.by_likelihood:
            asked = [ANSWERS_VERSION, model, settings.as_lm_eval, "choices", self.sent_choices]
            head = json.dumps(asked)[:-1]
        else:
            head = _asked_so(model, settings, self.exchange.sent_stops)
        kind = "true" if isinstance(self.sent, str) else "false"
        whole = f"{head}, {kind}, {json.dumps(as_recorded(self.sent))}]"
        return hashlib.sha256(whole.encode()).digest()[:16]

    @cached_property
    def _conjugated(self) -> Prompt:
        """The prompt before it is put into a form."""
        return self._conjugate() if self.via.form is not None else self.sent

    def _conjugate(self) -> Prompt:
        try:
            return self.exchange.send(self.example.prompt)
        except ConjugationError as error:
            raise ConjugationError(
                f"The conjugation '{self.via.name}' fails on the example "
                f"'{self.key.source_id}': {error.__cause__!r}.",
                hint=error.hint,
            ) from error

    @cached_property
    def sent_choices(self) -> tuple[str, ...]:
        """The choices as the model sees them."""
        choices = self.example.choices
        if not self.example.choices_joined:
            return sent_choices(self.exchange, self.sent, choices)
        if self.via.form is not None and not isinstance(self.sent, str):
            choices = tuple(choice.lstrip() for choice in choices)  # the answer begins a line
        return joined_choices(self.exchange, self.example.prompt, choices)

    @cached_property
    def _measure(self) -> Measure:
        """By what inverted answers are judged."""
        conjugation = self.via.conjugation
        if conjugation.exact and not conjugation.rephrases:
            return _exact_measure(_This(self.example))
        return _measured(self.example, expected_under(conjugation, self.example))

    @property
    def scorer(self) -> Scorer:
        """Scores inverted answers."""
        return self._measure.scorer

    @property
    def read_in_batches(self) -> bool:
        """Whether its answer is inverted or scored best together with many others."""
        return not self.by_likelihood and (
            self.via.conjugation.batched or _scored_in_batches(self.example.scorer)
        )

    def settled_outcome(self, raw: str) -> Outcome | None:
        """Return the outcome if nothing that the model may add to ``raw`` changes it."""
        return settled_outcome(self.exchange, self.scorer, raw)

    def was_settled(self, raw: str) -> bool:
        """Return whether a stored answer had been settled, also for one who took it as conjugated.

        Earlier versions inverted every answer, knew no forms, and stopped as soon as that was
        enough. What form a wrong answer of theirs has is told by as much of it as there is.
        """
        settled = self.exchange.settled_as_conjugated(raw)
        if settled.stopped or self.scorer.by_texts.decided(settled.text):
            return True
        return self.settled_outcome(raw) is not None

    def row(self, reply: RawAnswer, *, role: str) -> AnswerRow:
        """Return the answer as it is recorded, inverted and scored."""
        finish = reply.finish
        flags, fidelity = self._survived()
        measure = None
        try:
            measure = _plain_measure(_This(self.example)) if self.by_likelihood else self._measure
            answer, judged = self._judged(reply, measure.scorer)
        except ConjugationError:  # of a plugin; ours never fail, which the laws test
            answer, judged, finish = "", ScoredAnswer("broken"), UNINVERTIBLE
            measure = measure or _plain_measure(_This(self.example))
        return AnswerRow(
            key=self.key,
            role=role,
            via=self.via.name,
            cell=self.example.cell,
            language=self.example.language,
            prompt=as_recorded(self.sent),
            raw=reply.raw,
            answer=answer,
            right_answers=measure.right_answers,
            intruding_answers=measure.intruding_answers,
            outcome=judged.outcome,
            finish=finish,
            round_trip=fidelity and fidelity.round_trip,
            fidelity=fidelity and fidelity.chrf,
            survival=fidelity and fidelity.survival,
            flags="; ".join((*flags, *map(answer_flag, judged.flags), *self._answer_flags(reply))),
            n_prompt_tokens=reply.n_prompt_tokens,
            n_answer_tokens=reply.n_answer_tokens,
            latency_seconds=reply.latency_seconds,
            score=judged.grade,
            scoring=self.example.scoring.to_json(),
        )

    def _answer_flags(self, reply: RawAnswer) -> list[str]:
        cut = [PROMPT_CUT] if reply.prompt_cut else []
        if self.by_likelihood:
            return cut
        if reply.why_none is not None:
            return [*cut, reply.why_none]
        try:
            flags = self.exchange.answer_flags([reply.raw], cut_off=reply.cut_off)
        except ConjugationError:
            return cut
        return [*cut, *map(answer_flag, flags)]

    def _judged(self, reply: RawAnswer, scorer: Scorer) -> tuple[str, ScoredAnswer]:
        """Return the inverted answer with what it is worth; chosen ones are the plain choices."""
        if not self.by_likelihood:
            answer = self.read(reply)
            return answer, scorer.score(answer)
        likelihoods = self._likelihoods(reply)
        own = scorer.of_likelihoods(likelihoods)
        if own is not None:
            return own
        answer = self.read(reply)
        judged = scorer.score(answer)
        tied = [TIED] if is_tie([each.log_probability for each in likelihoods]) else []
        return answer, judged._replace(flags=(*judged.flags, *tied))

    def _likelihoods(self, reply: RawAnswer) -> list[Likelihood]:
        return choice_likelihoods(reply.raw, self.sent_choices)

    def read(self, reply: RawAnswer) -> str:
        """Return the inverted answer."""
        if self.by_likelihood:
            index = likeliest([each.log_probability for each in self._likelihoods(reply)])
            return "" if index is None else self.example.choices[index]
        return self.exchange.read(reply.raw, cut_off=reply.cut_off).text

    def _survived(self) -> Survived:
        """Return flags of the prompt and how it survives; nothing is sent back in a language."""
        if self.via.language is not None and self.via.conjugation.changes_nothing:
            return Survived((), None)
        return _SURVIVED.of(self.via.conjugation, self.example.prompt, self._survives)

    def _survives(self) -> Survived:
        flags = self.exchange.flags(texts_of(self.example.prompt))
        try:
            return Survived(flags, self.exchange.fidelity(self.example.prompt, self._conjugated))
        except ConjugationError:
            return Survived(flags, Fidelity(round_trip=False, chrf=0.0, survival=0.0))


class Survived(NamedTuple):
    """What became of a prompt."""

    flags: tuple[str, ...]
    fidelity: Fidelity | None


class _Kept:
    """What became of the newest prompts, which is the same for every model that is asked them.

    Args:
        most: Prompts; one takes some two hundred bytes, however long it is.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[tuple[TextConjugation, bool, bytes], Survived] = {}

    def of(
        self, conjugation: TextConjugation, prompt: Prompt, find: Callable[[], Survived]
    ) -> Survived:
        """Return what is known of a prompt under a conjugation, or is found out now."""
        text = as_recorded(prompt).encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=16).digest()
        key = (conjugation, isinstance(prompt, str), digest)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            found = self._known[key] = find()
        return found


_SURVIVED = _Kept(1 << 17)


def prepare_questions(answered: Iterable[tuple[Question, RawAnswer]]) -> None:
    """Let what inverts or scores many answers best at once see all of these beforehand."""
    together = [(each, reply) for each, reply in answered if each.read_in_batches]
    prepare_answers((each.exchange, reply.raw) for each, reply in together)
    readable: list[tuple[Scorer, str]] = []
    for each, reply in together:
        if _scored_in_batches(each.example.scorer):
            with suppress(ConjugationError):
                readable.append((each.scorer, each.read(reply)))
    prepare_all(readable)


def settled_outcome(exchange: Exchange, scorer: Scorer, raw: str) -> Outcome | None:
    """Return the outcome of an answer that begins with ``raw``, if nothing can change it."""
    outcomes: set[Outcome] = set()
    for each in exchange.settled(raw):
        if not each.stopped and not scorer.decided(each.text):
            return None
        outcomes.add(scorer.outcome(each.text))
    return outcomes.pop() if len(outcomes) == 1 else None


@lru_cache(maxsize=1024)
def _asked_so(model: str, settings: Settings, stops: tuple[str, ...]) -> str:
    """Return how the JSON of a request begins, which is the same for many prompts."""
    drawn = None if settings.sampling is None else asdict(settings.sampling)
    parts = [ANSWERS_VERSION, model, settings.as_lm_eval, settings.max_new_tokens, stops, drawn]
    return json.dumps(parts)[:-1]


@lru_cache(maxsize=1024)
def _scored_in_batches(scorer: str) -> bool:
    return scorer_class(scorer).batched


@lru_cache(maxsize=256)
def _exchange(conjugation: TextConjugation, stops: tuple[str, ...]) -> Exchange:
    return Exchange(conjugation, stops)


class Expected(NamedTuple):
    """The texts that inverted answers are compared with, each once and none of them blank."""

    right: tuple[str, ...]
    intruding: tuple[str, ...]


class Measure(NamedTuple):
    """By what the answers to an example are judged, and what the record says of it."""

    scorer: Scorer
    right_answers: str
    """As a JSON list."""
    intruding_answers: str


def _measured(example: Example, expected: Expected) -> Measure:
    right, intruding = (json.dumps(texts, ensure_ascii=False) for texts in expected)
    return Measure(_scorer_of(example, expected), right, intruding)


_N_MEASURES = 4096
"""Examples whose measures are kept: those that are asked together, in each way of asking."""


class _This:
    """An example as itself; others are equal that have another ability under test."""

    __slots__ = ("example",)

    def __init__(self, example: Example) -> None:
        self.example = example

    def __hash__(self) -> int:
        return id(self.example)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _This) and self.example is other.example


@lru_cache(maxsize=_N_MEASURES)
def _exact_measure(this: _This) -> Measure:
    """Return the measure under all conjugations that leave what is expected as it is."""
    return _measured(this.example, _expected_exactly(this.example))


@lru_cache(maxsize=_N_MEASURES)
def _plain_measure(this: _This) -> Measure:
    """Return the measure of answers that are among the plain choices."""
    return _measured(this.example, Expected(this.example.right, this.example.intruding))


def expected_under(conjugation: TextConjugation, example: Example) -> Expected:
    """Return what the inverted answers to an example are compared with.

    A lossy conjugation cannot give back every expected text: answers are compared with its
    *canonical image* ``invert(apply(text))``. For an exact one that is the text itself. Where a
    text is the beginning of a whole answer that the example gives, as many words from the
    beginning of the whole answer's image count as well: translated alone, the first word of a
    sentence may come out otherwise than in it. Where a conjugation rephrases, so do the expected
    texts themselves, whatever the case of their first letter.
    """
    if conjugation.exact and not conjugation.rephrases:
        return _expected_exactly(example)
    image = Exchange(conjugation).image

    def images(ability: str, texts: Sequence[str]) -> Iterator[str]:
        whole = example.whole_answers.get(ability)
        for text in texts:
            yield image(text)
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


def _expected_exactly(example: Example) -> Expected:
    return Expected(_distinct(example.right), _distinct(example.intruding))


def _with_other_first_letter(*texts: str) -> Iterator[str]:
    for text in texts:
        start = len(text) - len(text.lstrip())
        yield text[:start] + text[start : start + 1].swapcase() + text[start + 1 :]


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text.strip()))


def scorer_under(conjugation: TextConjugation, example: Example) -> Scorer:
    """Return what scores the inverted answers to an example."""
    return _scorer_of(example, expected_under(conjugation, example))


def _scorer_of(example: Example, expected: Expected) -> Scorer:
    """Return what compares answers with the images of the expected ones.

    A lossy conjugation may leave of a number or of JSON what is none. No answer can then come out
    right under it, and the plain texts, which the scorer can use, say the same.
    """
    try:
        return example.scorer_of(*expected)
    except UserError:
        return example.scorer_of(example.right, example.intruding)


def as_recorded(prompt: Prompt) -> str:
    """Return a prompt as text: messages become JSON.

    Example:
        >>> from palimpsest.lm import Message
        >>> as_recorded((Message("user", "Été?"),))
        '[{"role": "user", "content": "Été?"}]'
    """
    if isinstance(prompt, str):
        return prompt
    return json.dumps([asdict(message) for message in prompt], ensure_ascii=False)
