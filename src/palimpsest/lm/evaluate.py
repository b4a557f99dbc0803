"""Ask a model every question of a suite under every conjugation, keeping each answer at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Protocol

from palimpsest.errors import UserError
from palimpsest.lm.conjugations.via import Via
from palimpsest.lm.models.protocol import Generation, LanguageModel
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.question import UNINVERTIBLE, Question, Settings, as_recorded, scorer_under
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.answers import AnswerKey, AnswerRow
from palimpsest.records.store import AnswerStore

__all__ = ["Progress", "Settings", "evaluate", "find_oddities"]


class Progress(Protocol):
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
    progress: Progress | None = None,
) -> list[AnswerRow]:
    """Return every answer of one model, asking only for those that the store does not have.

    All missing prompts of all conjugations go to the model in one call, so that it can batch them
    well; prompts that are sent in the same form are asked once. Answers are stored as they finish:
    whatever ends the process, the next call continues there and returns the same rows.

    Answers to examples that the store has and the suite lacks stay there for another time.

    Args:
        model: Asked greedily.
        suite: The examples.
        vias: How to ask; two that mean the same count once.
        store: Where answers are looked up and kept.
        role: ``base`` or ``tuned``.
        settings: By default those of the suite.
        progress: Called once at the start, and after every answer.

    Returns:
        Rows ordered by via, and within it as in the suite.

    Raises:
        UserError: The suite has nothing in a via's language, a plugin's conjugation fails on a
            prompt, or the store cannot be written.
    """
    settings = settings or Settings.of(suite)
    questions = _questions(model.fingerprint, suite, vias, settings)
    rows = _reuse(questions, store, role)
    missing = [question for question in questions if question.key not in rows]
    n_reused = len(rows)
    if progress is not None:
        progress(n_reused, len(questions), n_reused)
    with closing(_ask(model, missing, settings, role)) as answers:
        for answered in answers:
            store.add(answered)
            rows.update({row.key: row for row in answered})
            if progress is not None:
                progress(len(rows), len(questions), n_reused)
    return [rows[question.key] for question in questions]


def find_oddities(rows: Sequence[AnswerRow], suite: Suite, vias: Sequence[Via]) -> list[str]:
    """Return a sentence for whatever a reader must know before trusting the rows.

    Counted are prompts that a conjugation left as they were, answers that could not be inverted,
    and examples that a lossy conjugation makes impossible to score.
    """
    plain = {e.source_id: as_recorded(e.prompt) for e in suite.in_language(suite.source_language)}
    sentences = []
    for via in _distinct(vias):
        mine = [row for row in rows if row.key.conjugation == via.fingerprint]
        if via.name != "identity":
            same = sum(row.prompt == plain.get(row.key.source_id) for row in mine)
            sentences += _share(
                same, len(mine), f"prompts under '{via.name}' are the same as without it."
            )
        failed = sum(row.finish == UNINVERTIBLE for row in mine)
        sentences += _share(
            failed,
            len(mine),
            f"answers under '{via.name}' could not be inverted, which is a bug in that "
            "conjugation; they are scored broken.",
        )
        examples = _examples(suite, via)
        ambiguous = sum(scorer_under(via.conjugation, e).ambiguous for e in examples)
        sentences += _share(
            ambiguous,
            len(examples),
            f"examples under '{via.name}' have an answer that counts for both abilities; "
            "it is scored broken.",
        )
    return sentences


def _share(n: int, n_all: int, what: str) -> list[str]:
    return [f"{n} of {n_all} {what}"] if n else []


def _distinct(vias: Sequence[Via]) -> list[Via]:
    return list({via.fingerprint: via for via in reversed(vias)}.values())[::-1]


def _examples(suite: Suite, via: Via) -> Sequence[Example]:
    language = suite.source_language if via.language is None else via.language
    examples = suite.in_language(language)
    if not examples:
        raise UserError(
            f"The suite '{suite.name}' has no examples in '{language}'.",
            hint=f"It has: {', '.join(suite.languages)}.",
        )
    return examples


def _questions(model: str, suite: Suite, vias: Sequence[Via], settings: Settings) -> list[Question]:
    questions = [
        Question.of(model, suite, via, example, settings)
        for via in _distinct(vias)
        for example in _examples(suite, via)
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
    questions: Sequence[Question], store: AnswerStore, role: str
) -> dict[AnswerKey, AnswerRow]:
    """Return the stored answers that still hold, inverted and scored as today's code does it."""
    if not questions:
        return {}
    key, settings = questions[0].key, questions[0].settings
    found = store.rows(model=key.model, suite=key.suite, settings=settings.fingerprint)
    stored = {row.key: row for row in found}
    rows: dict[AnswerKey, AnswerRow] = {}
    changed: list[AnswerRow] = []
    for question in questions:
        old = stored.get(question.key)
        if old is None or not _still_holds(old, question):
            continue
        row = question.row(
            role=role, raw=old.raw, finish=old.finish, latency_seconds=old.latency_seconds
        )
        rows[row.key] = row
        if row != old:  # another role or spelling as well: the file says what the newest run said
            changed.append(row)
    if changed:
        store.add(changed)
    return rows


def _still_holds(old: AnswerRow, question: Question) -> bool:
    """Guard against rows from a release whose conjugations or scoring were different."""
    if old.prompt != as_recorded(_sent(question)) or old.finish == UNINVERTIBLE:
        return False
    return old.finish != "decided" or question.is_settled(old.raw)


def _sent(question: Question) -> Prompt:
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


def _ask(
    model: LanguageModel, questions: Sequence[Question], settings: Settings, role: str
) -> Generator[list[AnswerRow]]:
    """Yield the rows of all questions that were sent in the same form, as their answer finishes."""
    askers: dict[Prompt, list[Question]] = defaultdict(list)
    for question in questions:
        askers[_sent(question)].append(question)
    groups = list(askers.values())

    def decided(index: int, raw: str) -> bool:
        return all(question.is_settled(raw) for question in groups[index])

    if not groups:
        return
    answers = model.generate(
        list(askers),
        max_new_tokens=settings.max_new_tokens,
        stop=settings.sent_stops,
        decided=decided if settings.stop_when_decided else None,
    )
    n_answered = 0
    try:
        for index, generation in answers:
            n_answered += 1
            yield [_answered(question, generation, role) for question in groups[index]]
    finally:
        close = getattr(answers, "close", None)  # generators free their batch at once
        if close is not None:
            close()
    if n_answered != len(groups):
        raise RuntimeError(f"'{model.spec}' gave {n_answered} answers to {len(groups)} prompts.")


def _answered(question: Question, generation: Generation, role: str) -> AnswerRow:
    return question.row(
        role=role,
        raw=generation.text,
        finish=generation.finish,
        latency_seconds=generation.latency_seconds,
    )
