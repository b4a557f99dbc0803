"""Evaluation of a model: every question of a suite under every conjugation, kept as it comes."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import defaultdict
from collections.abc import Container, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from typing import Protocol, Self, cast

import numpy as np

from palimpsest.errors import UserError
from palimpsest.judging.asked_before import EARLY, asked_before, note_requests, reply_of
from palimpsest.judging.questions import (
    UNINVERTIBLE,
    Question,
    RawAnswer,
    Settings,
    as_recorded,
    prepare_questions,
)
from palimpsest.judging.via import Via, distinct_vias
from palimpsest.judging.whole import AskedWhole, Whole
from palimpsest.lm import (
    Exchange,
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
from palimpsest.records import CUT, AnswerKey, AnswerRow, AnswerStore, StoredAnswers

__all__ = ["EvaluationProgress", "Settings", "evaluate", "evaluate_stored", "settings_for"]

_N_TOGETHER = 2048
"""Examples that are asked together, under all ways of asking; beyond them nothing is in memory."""

_N_WAITING = 256
_WAIT_SECONDS = 0.02
"""How many answers wait for others to be written with them, and for how long."""

_N_SCORED = 256
"""Prompts whose choices are scored in one call; what is stored after a crash is whole calls."""

_Way = tuple[Via, Sequence[Example]]
"""A way of asking with the examples that are asked so."""

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
    """Return every answer of one model; as :func:`evaluate_stored`, all in memory."""
    found = evaluate_stored(
        model,
        suite,
        vias,
        store=store,
        role=role,
        settings=settings,
        whole=whole,
        again=again,
        progress=progress,
    )
    return list(found)


def evaluate_stored(
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
) -> StoredAnswers:
    """Return every answer of one model, asking only for those that the store does not have.

    Some thousand examples are put together at a time. Their missing prompts of all conjugations go
    to the model in one call, so that it can batch them well; prompts that are sent in the same form
    are asked once, also where another suite or an earlier call sent them
    (:mod:`.asked_before`). Answers are stored as they finish: whatever ends the process, the next
    call continues there and returns the same rows.

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
        progress: Called whenever the store has been looked up, and after every answer.

    Returns:
        Rows ordered by via, and within it as in the suite. They are read from the store.

    Raises:
        UserError: The suite has nothing in a via's language, a plugin's conjugation fails on a
            prompt, or the store cannot be written.
    """
    ways = [(via, via.examples(suite)) for via in distinct_vias(vias)]
    _check_distinct(suite, ways)
    settings = settings or Settings.of(suite)
    return _Evaluation(model, suite, ways, store, role, settings, whole, again, progress).answers()


class _Evaluation:
    """One call of :func:`evaluate_stored`; the arguments are the same."""

    def __init__(
        self,
        model: LanguageModel,
        suite: Suite,
        ways: Sequence[_Way],
        store: AnswerStore,
        role: str,
        settings: Settings,
        whole: Whole,
        again: int,
        progress: EvaluationProgress | None,
    ) -> None:
        self._model = model
        self._suite = suite
        self._ways = ways
        self._store = store
        self._role = role
        self._settings = settings
        self._whole = whole
        self._again = again
        self._progress = progress
        self._asked_as = asked_as(model, again)
        self._sample = AskedWhole(ways, whole)
        self._places = [np.zeros(len(examples), np.int64) for _, examples in ways]
        self._n_total = sum(map(len, self._places))
        self._n_done = self._n_reused = 0

    def answers(self) -> StoredAnswers:
        """Ask for what is missing, and return where everything is."""
        longest = max(map(len, self._places), default=0)
        if not longest:
            self._tell()
        for first in range(0, longest, _N_TOGETHER):
            self._answer(
                {
                    (way, at): self._question(way, at)
                    for way, places in enumerate(self._places)
                    for at in range(first, min(first + _N_TOGETHER, len(places)))
                }
            )
        cut = self._sample.to_ask_again()
        for first in range(0, len(cut), _N_TOGETHER):
            asked = [self._question(*place) for place in cut[first : first + _N_TOGETHER]]
            prepare(asked)
            self._ask(asked, {question.key for question in asked}, None)
        places = np.concatenate([np.zeros(0, np.int64), *self._places])
        return self._store.answers_at(places[places > 0], self._role)

    def _question(self, way: int, at: int) -> Question:
        via, examples = self._ways[way]
        return Question.of(self._asked_as, self._suite, via, examples[at], self._settings)

    def _answer(self, block: Mapping[tuple[int, int], Question]) -> None:
        """Let some questions be answered, from the store or by the model."""
        questions = list(block.values())
        prepare(questions)
        rows = _reuse(questions, self._store, self._role, self._whole)
        self._n_done += len(rows)
        self._n_reused += len(rows)
        missing = [question for question in questions if question.key not in rows]
        to_end = self._sample.wanted(missing)
        shared = list(asked_before(missing, self._store, to_end))
        prepare_questions(shared)
        again = {q.key: _marked(q.row(reply, role=self._role)) for q, reply in shared}
        if again:
            self._store.add(again.values())
            rows.update(again)
            self._n_done += len(again)
            self._n_reused += len(again)
            missing = [question for question in missing if question.key not in again]
        self._tell()
        self._ask(missing, to_end, rows)
        sources = list(dict.fromkeys(question.key.source_id for question in questions))
        stored = self._store.places(
            model=self._asked_as, suite=self._suite.key, sources=sources if rows else ()
        )
        for (way, at), question in block.items():
            row = rows.get(question.key)
            if row is not None:
                self._places[way][at] = stored[question.key]
                self._sample.see((way, at), question.example.cell, row)
        note_requests(questions, stored, self._store)

    def _ask(
        self,
        questions: Sequence[Question],
        to_end: set[AnswerKey],
        rows: dict[AnswerKey, AnswerRow] | None,
    ) -> None:
        """Ask the model, and keep every answer in the store and among the rows.

        Without any, the questions are asked for a second time, and are not counted again.
        """
        with (
            _other_batches(self._model, self._again),
            _Buffer(self._store) as buffer,
            closing(_ask_all(self._model, questions, to_end, role=self._role)) as answers,
        ):
            for answered in answers:
                buffer.add(answered)
                if rows is not None:
                    n_before = len(rows)
                    rows.update({row.key: row for row in answered})
                    self._n_done += len(rows) - n_before
                self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._n_done, self._n_total, self._n_reused)


class _Buffer:
    """Answers on their way to the store: what comes at once is written at once, in one piece.

    Answers wait for a moment, in which others may come right behind them, so that a model that has
    many does not wait for a thousand transactions. A thread writes what waits then: the next answer
    may take the model minutes.
    """

    def __init__(self, store: AnswerStore) -> None:
        self._store = store
        self._rows: list[AnswerRow] = []
        self._written = 0.0
        self._lock = threading.RLock()
        self._later: threading.Timer | None = None
        self._failure: Exception | None = None

    def add(self, rows: Sequence[AnswerRow]) -> None:
        """Take answers, and write them unless something was written a moment ago."""
        with self._lock:
            self._rows += rows
            if len(self._rows) >= _N_WAITING or time.monotonic() - self._written > _WAIT_SECONDS:
                self.write()
            elif self._later is None:
                self._later = threading.Timer(_WAIT_SECONDS, self._write_later)
                self._later.daemon = True
                self._later.start()

    def write(self) -> None:
        """Write all that waits.

        Raises:
            UserError: The disk is full, or was when something was written meanwhile.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._rows:
                self._store.add(self._rows)
                self._rows = []
            self._written = time.monotonic()

    def _write_later(self) -> None:
        with self._lock:
            self._later = None
            try:
                self.write()
            except UserError as error:  # is raised again when the next answer comes
                self._failure = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._later is not None:
                self._later.cancel()
            self.write()


def settings_for(suite: Suite, models: Iterable[LanguageModel]) -> Settings:
    """Return the settings that a suite asks for, the same for all models that are compared on it.

    Answers are chosen by likelihood only if every model can say how likely they are.
    """
    settings = Settings.of(suite)
    if any(example.choices for example in suite.examples):
        settings = replace(settings, by_likelihood=all(can_score(model) for model in models))
    return settings


def asked_as(model: LanguageModel, again: int) -> str:
    """Return under what the answers of a model are kept that is asked for the n-th time again."""
    return f"{model.fingerprint} again {again}" if again else model.fingerprint


def questions_for(
    model: str, suite: Suite, vias: Sequence[Via], settings: Settings
) -> Iterator[Question]:
    """Return every example under each of the vias, put together one by one.

    Args:
        model: Its fingerprint.
        suite: The examples.
        vias: How to ask; two that mean the same count once.
        settings: For those examples that have none of their own.

    Raises:
        UserError: The suite has nothing in a via's language, or an example twice.
    """
    ways = [(via, via.examples(suite)) for via in distinct_vias(vias)]
    _check_distinct(suite, ways)
    return (
        Question.of(model, suite, via, example, settings)
        for via, examples in ways
        for example in examples
    )


def _check_distinct(suite: Suite, ways: Sequence[_Way]) -> None:
    """Refuse a suite that has an example twice."""
    for examples in {id(examples): examples for _, examples in ways}.values():
        if len({example.source_id for example in examples}) == len(examples):
            continue
        seen: set[tuple[str, str]] = set()
        for example in examples:
            if (example.source_id, example.fingerprint) in seen:
                raise UserError(
                    f"The suite '{suite.name}' has the example '{example.source_id}' twice in "
                    f"'{example.language}'.",
                    hint="Give every example an id of its own.",
                )
            seen.add((example.source_id, example.fingerprint))


def _reuse(
    questions: Sequence[Question], store: AnswerStore, role: str, whole: Whole
) -> dict[AnswerKey, AnswerRow]:
    """Return the stored answers that still hold, inverted and scored as today's code does it."""
    if not questions:
        return {}
    key = questions[0].key
    sources = list(dict.fromkeys(question.key.source_id for question in questions))
    stored = {
        row.key: row for _, row in store.keyed(model=key.model, suite=key.suite, sources=sources)
    }
    rows: dict[AnswerKey, AnswerRow] = {}
    changed: list[AnswerRow] = []
    held = [
        (question, reply_of(old), old)
        for question in questions
        if (old := stored.get(question.key)) is not None and _still_holds(old, question)
    ]
    prepare_questions((question, reply) for question, reply, _ in held)
    for question, reply, old in held:
        row = question.row(reply, role=role)
        if whole == "all" and row.outcome != "right" and row.finish in EARLY:
            continue
        rows[row.key] = row
        if row != old:  # another role or spelling as well: the file says what the newest run said
            changed.append(row)
    if changed:
        store.add(changed)
    return rows


def _still_holds(old: AnswerRow, question: Question) -> bool:
    """Guard against rows from a release whose conjugations or scoring were different."""
    if old.prompt != as_recorded(question.sent) or old.finish in (UNINVERTIBLE, "refused"):
        return False
    return old.finish not in EARLY or question.was_settled(old.raw)


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
    by_exchange: dict[Exchange, list[Question]] = defaultdict(list)
    for question in questions:
        if question.exchange.conjugation.batched:
            by_exchange[question.exchange].append(question)
    for exchange, group in by_exchange.items():
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
