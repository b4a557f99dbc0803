"""Evaluation of a model: every question of a suite under every conjugation, kept as it comes."""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from typing import Protocol, cast

from palimpsest.errors import UserError
from palimpsest.judging.questions import (
    PROMPT_CUT,
    UNINVERTIBLE,
    Question,
    RawAnswer,
    Settings,
    as_recorded,
    prepare_questions,
)
from palimpsest.judging.via import Via, distinct_vias
from palimpsest.judging.whole import Whole, to_ask_again, whole_if_wrong
from palimpsest.lm import (
    Likelihood,
    Prompt,
    choices_as_raw,
    read_together,
    texts_of,
)
from palimpsest.lm.models import (
    AsksAsLmEval,
    AsksInOtherBatches,
    CanSample,
    LanguageModel,
    TellsMargins,
    can_score,
)
from palimpsest.lm.suites import Example, Suite
from palimpsest.records import CUT, AnswerKey, AnswerRow, AnswerStore

__all__ = ["EvaluationProgress", "Settings", "evaluate", "settings_for"]

_N_SCORED = 256
"""Prompts whose choices are scored in one call; what is stored after a crash is whole calls."""

_EARLY = ("decided", CUT)
"""How answers finish that were settled before they ended."""

_Group = list[Question]
"""Questions that were sent in the same form."""


class EvaluationProgress(Protocol):
    """Told how far an evaluation has come."""

    def __call__(self, n_done: int, n_total: int, n_reused: int, /) -> None:
        """Show it; ``n_done`` counts the ``n_reused`` answers that were there beforehand."""


def evaluate(
    model: LanguageModel,
    suite: Suite,
    vias: Sequence[Via],
    *,
    store: AnswerStore,
    role: str,
    settings: Settings | None = None,
    whole: Whole = "sample",
    again: int = 0,
    progress: EvaluationProgress | None = None,
) -> list[AnswerRow]:
    """Return every answer of one model, asking only for those that the store does not have.

    All missing prompts of all conjugations go to the model in one call, so that it can batch them
    well; prompts that are sent in the same form are asked once. Answers are stored as they finish:
    whatever ends the process, the next call continues there and returns the same rows.

    Answers to examples that the store has and the suite lacks stay there for another time. A prompt
    of which whatever answers it dies again and again has no row, and is asked again next time.

    Args:
        model: Asked greedily.
        suite: The examples.
        vias: How to ask; two that mean the same count once.
        store: Where answers are looked up and kept.
        role: ``base`` or ``tuned``.
        settings: By default those of the suite.
        whole: How many wrong answers are asked to their end though their score is settled: a
            sample of each cell under each via, by default. Stored answers that were cut hold,
            unless ``all`` are to be whole.
        again: 0, or the number of times that it has been asked before: the model is then asked as
            another machine would, in other batches, and the answers are kept apart.
        progress: Called once at the start, and after every answer.

    Returns:
        Rows ordered by via, and within it as in the suite.

    Raises:
        UserError: The suite has nothing in a via's language, a plugin's conjugation fails on a
            prompt, or the store cannot be written.
    """
    settings = settings or Settings.of(suite)
    asked_as = f"{model.fingerprint} again {again}" if again else model.fingerprint
    questions = questions_for(asked_as, suite, vias, settings)
    prepare(questions)
    rows = _reuse(questions, store, role, whole)
    missing = [question for question in questions if question.key not in rows]
    n_reused = len(rows)

    def tell() -> None:
        if progress is not None:
            progress(len(rows), len(questions), n_reused)

    def ask(asked: Sequence[Question], to_end: set[AnswerKey]) -> None:
        with (
            _other_batches(model, again),
            closing(_ask_all(model, asked, to_end, role=role)) as answers,
        ):
            for answered in answers:
                store.add(answered)
                rows.update({row.key: row for row in answered})
                tell()

    tell()
    ask(missing, whole_if_wrong(questions, whole))
    cut = to_ask_again(questions, rows, whole)
    ask(cut, {question.key for question in cut})
    return [rows[question.key] for question in questions if question.key in rows]


def settings_for(suite: Suite, models: Iterable[LanguageModel]) -> Settings:
    """Return the settings that a suite asks for, the same for all models that are compared on it.

    Answers are chosen by likelihood only if every model can say how likely they are.
    """
    settings = Settings.of(suite)
    if any(example.choices for example in suite.examples):
        settings = replace(settings, by_likelihood=all(can_score(model) for model in models))
    return settings


def questions_for(
    model: str, suite: Suite, vias: Sequence[Via], settings: Settings
) -> list[Question]:
    """Return every example under each of the vias; two vias that mean the same count once.

    Args:
        model: Its fingerprint.
        suite: The examples.
        vias: How to ask.
        settings: For those examples that have none of their own.

    Raises:
        UserError: The suite has nothing in a via's language, or an example twice.
    """
    questions = [
        Question.of(model, suite, via, example, settings)
        for via in distinct_vias(vias)
        for example in via.examples(suite)
    ]
    seen: set[AnswerKey] = set()
    for question in questions:
        if question.key in seen:
            raise UserError(
                f"The suite '{suite.name}' has the example '{question.key.source_id}' twice in "
                f"'{question.example.language}'.",
                hint="Give every example an id of its own.",
            )
        seen.add(question.key)
    return questions


def _reuse(
    questions: Sequence[Question], store: AnswerStore, role: str, whole: Whole
) -> dict[AnswerKey, AnswerRow]:
    """Return the stored answers that still hold, inverted and scored as today's code does it."""
    if not questions:
        return {}
    key = questions[0].key
    stored = {
        row.key: row
        for settings in dict.fromkeys(question.settings.fingerprint for question in questions)
        for row in store.rows(model=key.model, suite=key.suite, settings=settings)
    }
    rows: dict[AnswerKey, AnswerRow] = {}
    changed: list[AnswerRow] = []
    held = [
        (question, _reply_of(old), old)
        for question in questions
        if (old := stored.get(question.key)) is not None and _still_holds(old, question)
    ]
    prepare_questions((question, reply) for question, reply, _ in held)
    for question, reply, old in held:
        row = question.row(reply, role=role)
        if whole == "all" and row.outcome != "right" and row.finish in _EARLY:
            continue
        rows[row.key] = row
        if row != old:  # another role or spelling as well: the file says what the newest run said
            changed.append(row)
    if changed:
        store.add(changed)
    return rows


def _reply_of(old: AnswerRow) -> RawAnswer:
    return RawAnswer(
        old.raw,
        old.finish,
        old.latency_seconds,
        old.n_prompt_tokens,
        old.n_answer_tokens,
        PROMPT_CUT in old.all_flags,
    )


def _still_holds(old: AnswerRow, question: Question) -> bool:
    """Guard against rows from a release whose conjugations or scoring were different."""
    if old.prompt != as_recorded(question.sent) or old.finish in (UNINVERTIBLE, "refused"):
        return False
    return old.finish not in _EARLY or question.was_settled(old.raw)


def _ask_all(
    model: LanguageModel,
    questions: Sequence[Question],
    to_end: Container[AnswerKey],
    *,
    role: str,
) -> Generator[list[AnswerRow]]:
    """Yield the rows of all questions that were sent in the same form, as their answer comes.

    Raises:
        UserError: A plugin's conjugation fails on a prompt, or what the model raises.
    """
    generated = [question for question in questions if not question.by_likelihood]
    chosen = [question for question in questions if question.by_likelihood]
    generations = (_generate(model, group, to_end) for group in _asked_alike(generated))
    choices = (_choose(model, group) for group in _asked_alike(chosen))
    for replies in (*choices, *generations):
        # Closing this generator must free the model's batch at once, not at the next collection.
        try:
            for group, reply in read_together(replies, waits=_waits, prepare=_prepare_replies):
                if reply.finish == "failed":
                    continue
                yield [_marked(question.row(reply, role=role)) for question in group]
        finally:
            replies.close()


def _asked_alike(questions: Sequence[Question]) -> Iterable[list[Question]]:
    """Return the questions in groups that a model can be asked in one call.

    A call has one list of stop strings: where conjugations write them differently, answers in one
    call with others could not be ended by them.
    """
    alike: dict[tuple[Settings, tuple[str, ...]], list[Question]] = defaultdict(list)
    for question in questions:
        stops = () if question.by_likelihood else question.exchange.sent_stops
        alike[question.settings, stops].append(question)
    return alike.values()


@contextmanager
def _manner(model: LanguageModel, settings: Settings) -> Iterator[None]:
    """Ask a model as the settings want it, if it can be asked so."""
    with ExitStack() as stack:
        if settings.as_lm_eval and isinstance(model, AsksAsLmEval):
            stack.enter_context(model.as_lm_eval())
        if settings.sampling is not None:
            stack.enter_context(cast("CanSample", model).sampling(settings.sampling))
        yield


def _other_batches(model: LanguageModel, again: int) -> AbstractContextManager[None]:
    if again and isinstance(model, AsksInOtherBatches):
        return model.in_other_batches(again)
    return nullcontext()


def _marked(row: AnswerRow) -> AnswerRow:
    """Say of a wrong answer that it was cut, so that it can be asked to its end another time."""
    if row.finish == "decided" and row.outcome != "right":
        return row._replace(finish=CUT)
    return row


def prepare(questions: Iterable[Question]) -> None:
    """Let conjugations that work best in batches see every prompt and expected answer at once."""
    by_conjugation: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_conjugation[question.via.conjugation.fingerprint].append(question)
    for group in by_conjugation.values():
        exchange = group[0].exchange
        if exchange.conjugation.batched:
            texts = list(dict.fromkeys(text for each in group for text in _texts(each.example)))
            exchange.prepare(prompts=texts)
            exchange.prepare(answers=[exchange.apply(text) for text in texts])


def _texts(example: Example) -> Iterator[str]:
    yield from texts_of(example.prompt)
    yield from itertools.chain(*example.answers.values())
    yield from example.whole_answers.values()
    yield from example.choices


def _generate(
    model: LanguageModel, questions: Sequence[Question], to_end: Container[AnswerKey]
) -> Generator[tuple[_Group, RawAnswer]]:
    settings = questions[0].settings
    askers: dict[Prompt, _Group] = defaultdict(list)
    for question in questions:
        askers[question.sent].append(question)
    groups = list(askers.values())
    n_answered = 0
    with _manner(model, settings), ExitStack() as stack:
        answers = model.generate(
            list(askers),
            max_new_tokens=settings.max_new_tokens,
            stop=questions[0].exchange.sent_stops,
            decided=_Settled(groups, to_end) if settings.stop_when_decided else None,
        )
        stack.callback(getattr(answers, "close", lambda: None))  # generators free their batch
        for index, answer in answers:
            n_answered += 1
            yield (
                groups[index],
                RawAnswer(
                    raw=answer.text,
                    finish=answer.finish,
                    latency_seconds=answer.latency_seconds,
                    n_prompt_tokens=answer.n_prompt_tokens,
                    n_answer_tokens=answer.n_tokens,
                    prompt_cut=answer.cut,
                ),
            )
    if n_answered != len(groups):
        raise RuntimeError(f"'{model.spec}' gave {n_answered} answers to {len(groups)} prompts.")


class _Settled:
    """Says of the answers of a batch when they are settled, and need not go on."""

    def __init__(self, groups: Sequence[_Group], to_end: Container[AnswerKey]) -> None:
        self._groups = groups
        self._to_end = to_end
        self._going_on: set[int] = set()

    def part(self, indexes: Sequence[int]) -> _Settled:
        """Return the same for some of the prompts alone (:class:`.Divisible`)."""
        groups = [self._groups[index] for index in indexes]
        keys = {question.key for group in groups for question in group}
        return _Settled(groups, {key for key in keys if key in self._to_end})

    def __call__(self, index: int, raw: str) -> bool:
        """Return whether the answer may end here; not if it is wrong and wanted whole."""
        if index in self._going_on:
            return False
        for question in self._groups[index]:
            outcome = question.settled_outcome(raw)
            if outcome is None:
                return False
            if outcome != "right" and question.key in self._to_end:
                self._going_on.add(index)
                return False
        return True


def _choose(
    model: LanguageModel, questions: Sequence[Question]
) -> Generator[tuple[_Group, RawAnswer]]:
    settings = questions[0].settings
    askers: dict[tuple[Prompt, tuple[str, ...]], _Group] = defaultdict(list)
    for question in questions:
        askers[question.sent, question.sent_choices].append(question)
    asked = list(askers.items())
    for first in range(0, len(asked), _N_SCORED):
        batch = asked[first : first + _N_SCORED]
        started = time.monotonic()
        with _manner(model, settings):
            found = _likelihoods(model, [asked for asked, _ in batch], settings)
        seconds = (time.monotonic() - started) / len(batch)
        for ((_, choices), group), values in zip(batch, found, strict=True):
            cut = any(each.cut for each in values)
            failed = any(math.isnan(each.log_probability) for each in values)
            raw = choices_as_raw(choices, values)
            yield group, RawAnswer(raw, "failed" if failed else "chosen", seconds, prompt_cut=cut)


def _likelihoods(
    model: LanguageModel, asked: Sequence[tuple[Prompt, tuple[str, ...]]], settings: Settings
) -> list[list[Likelihood]]:
    """Return how likely the choices are, with margins where lm-evaluation-harness wants them."""
    prompts, choices = [prompt for prompt, _ in asked], [texts for _, texts in asked]
    if settings.as_lm_eval and isinstance(model, TellsMargins):
        return model.likelihoods(prompts, choices)
    return [list(map(Likelihood, scores)) for scores in model.score(prompts, choices)]


def _waits(reply: tuple[_Group, RawAnswer]) -> bool:
    return any(question.read_in_batches for question in reply[0])


def _prepare_replies(replies: Sequence[tuple[_Group, RawAnswer]]) -> None:
    prepare_questions((question, reply) for group, reply in replies for question in group)
