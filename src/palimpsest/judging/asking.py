"""Put questions to a model: each distinct prompt once, generated or chosen, in batches."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence

from palimpsest.errors import UserError
from palimpsest.judging.questions import Question, Reply, Settings
from palimpsest.lm.choosing import as_raw
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.models.protocol import LanguageModel
from palimpsest.lm.prompts import Prompt, texts_of
from palimpsest.lm.suites.suite import Example
from palimpsest.records.answers import AnswerRow

_N_SCORED = 256
"""Prompts whose choices are scored in one call; what is stored after a crash is whole calls."""

_N_WAITING = 64
"""Answers that wait to be inverted together, where that is faster."""

_WAIT_SECONDS = 2.0
"""How long the first of them waits at most: so much is asked again after a crash."""

_Group = list[Question]
"""Questions that were sent in the same form."""


def ask_all(
    model: LanguageModel, questions: Sequence[Question], settings: Settings, *, role: str
) -> Generator[list[AnswerRow]]:
    """Yield the rows of all questions that were sent in the same form, as their answer comes.

    Raises:
        UserError: A plugin's conjugation fails on a prompt, or what the model raises.
    """
    generated = [question for question in questions if not question.by_likelihood]
    chosen = [question for question in questions if question.by_likelihood]
    for replies in (_choose(model, chosen), _generate(model, generated, settings)):
        # Closing this generator must free the model's batch at once, not at the next collection.
        try:
            for group, reply in _inverted_together(replies):
                yield [question.row(reply, role=role) for question in group]
        finally:
            replies.close()


def prepare_questions(questions: Iterable[Question]) -> None:
    """Let conjugations that work best in batches see every prompt and expected answer at once."""
    by_conjugation: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        if question.via.conjugation.batched:
            by_conjugation[question.via.conjugation.fingerprint].append(question)
    for group in by_conjugation.values():
        conjugation = group[0].via.conjugation
        texts = list(dict.fromkeys(text for each in group for text in _texts(each.example)))
        conjugation.prepare(prompts=texts)
        conjugation.prepare(answers=[conjugation.apply(text) for text in texts])


def sent(question: Question) -> Prompt:
    """Return the prompt as the model sees it.

    Raises:
        UserError: The conjugation fails on it, and whose fault that is.
    """
    try:
        return question.sent
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"The conjugation '{question.via.name}' fails on the example "
            f"'{question.key.source_id}': {error!r}.",
            hint="Leave it out, or tell the authors of the plugin that provides it.",
        ) from error


def _texts(example: Example) -> Iterator[str]:
    yield from texts_of(example.prompt)
    yield from itertools.chain(*example.answers.values())
    yield from example.whole_answers.values()
    yield from example.choices


def _generate(
    model: LanguageModel, questions: Sequence[Question], settings: Settings
) -> Generator[tuple[_Group, Reply]]:
    askers: dict[Prompt, _Group] = defaultdict(list)
    for question in questions:
        askers[sent(question)].append(question)
    groups = list(askers.values())
    if not groups:
        return

    def decided(index: int, raw: str) -> bool:
        return all(question.is_settled(raw) for question in groups[index])

    answers = model.generate(
        list(askers),
        max_new_tokens=settings.max_new_tokens,
        stop=settings.sent_stops,
        decided=decided if settings.stop_when_decided else None,
    )
    n_answered = 0
    try:
        for index, answer in answers:
            n_answered += 1
            yield (
                groups[index],
                Reply(
                    raw=answer.text,
                    finish=answer.finish,
                    latency_seconds=answer.latency_seconds,
                    n_prompt_tokens=answer.n_prompt_tokens,
                    n_answer_tokens=answer.n_tokens,
                ),
            )
    finally:
        close = getattr(answers, "close", None)  # generators free their batch at once
        if close is not None:
            close()
    if n_answered != len(groups):
        raise RuntimeError(f"'{model.spec}' gave {n_answered} answers to {len(groups)} prompts.")


def _choose(model: LanguageModel, questions: Sequence[Question]) -> Generator[tuple[_Group, Reply]]:
    askers: dict[tuple[Prompt, tuple[str, ...]], _Group] = defaultdict(list)
    for question in questions:
        askers[sent(question), question.sent_choices].append(question)
    asked = list(askers.items())
    for first in range(0, len(asked), _N_SCORED):
        batch = asked[first : first + _N_SCORED]
        started = time.monotonic()
        scores = model.score(
            [prompt for (prompt, _), _ in batch], [choices for (_, choices), _ in batch]
        )
        seconds = (time.monotonic() - started) / len(batch)
        for ((_, choices), group), values in zip(batch, scores, strict=True):
            yield group, Reply(as_raw(choices, values), "chosen", seconds)


def _inverted_together(
    replies: Iterable[tuple[_Group, Reply]],
) -> Iterator[tuple[_Group, Reply]]:
    """Hold replies back for a moment where inverting many at once is faster."""
    waiting: list[tuple[_Group, Reply]] = []
    since = time.monotonic()
    for group, reply in replies:
        if not any(question.via.conjugation.batched for question in group):
            yield group, reply
            continue
        if not waiting:
            since = time.monotonic()
        waiting.append((group, reply))
        if len(waiting) == _N_WAITING or time.monotonic() - since > _WAIT_SECONDS:
            _prepare_answers(waiting)
            yield from waiting
            waiting = []
    _prepare_answers(waiting)
    yield from waiting


def _prepare_answers(waiting: Sequence[tuple[_Group, Reply]]) -> None:
    raws: dict[str, list[str]] = defaultdict(list)
    conjugations: dict[str, TextConjugation] = {}
    for group, reply in waiting:
        for question in group:
            if not question.by_likelihood:
                conjugation = question.via.conjugation
                conjugations[conjugation.fingerprint] = conjugation
                raws[conjugation.fingerprint].append(reply.raw)
    for fingerprint, texts in raws.items():
        conjugations[fingerprint].prepare(answers=texts)
