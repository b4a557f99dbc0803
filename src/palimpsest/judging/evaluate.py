"""Ask a model every question of a suite under every conjugation, keeping each answer at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Protocol

from palimpsest.errors import UserError
from palimpsest.judging.asking import ask_all, prepare_questions, sent
from palimpsest.judging.questions import UNINVERTIBLE, Question, Reply, Settings, as_recorded
from palimpsest.judging.via import Via, distinct_vias
from palimpsest.lm.models.protocol import LanguageModel, can_score
from palimpsest.lm.suites.suite import Suite
from palimpsest.records.answers import AnswerKey, AnswerRow
from palimpsest.records.store import AnswerStore

__all__ = ["Progress", "Settings", "evaluate", "settings_for"]


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
    prepare_questions(questions)
    rows = _reuse(questions, store, role)
    missing = [question for question in questions if question.key not in rows]
    n_reused = len(rows)
    if progress is not None:
        progress(n_reused, len(questions), n_reused)
    with closing(ask_all(model, missing, settings, role=role)) as answers:
        for answered in answers:
            store.add(answered)
            rows.update({row.key: row for row in answered})
            if progress is not None:
                progress(len(rows), len(questions), n_reused)
    return [rows[question.key] for question in questions]


def settings_for(suite: Suite, models: Iterable[LanguageModel]) -> Settings:
    """Return the settings that a suite asks for, the same for all models that are compared on it.

    Answers are chosen by likelihood only if every model can say how likely they are.
    """
    settings = Settings.of(suite)
    if any(example.choices for example in suite.examples):
        settings = replace(settings, by_likelihood=all(can_score(model) for model in models))
    return settings


def _questions(model: str, suite: Suite, vias: Sequence[Via], settings: Settings) -> list[Question]:
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
        reply = Reply(
            old.raw, old.finish, old.latency_seconds, old.n_prompt_tokens, old.n_answer_tokens
        )
        row = question.row(reply, role=role)
        rows[row.key] = row
        if row != old:  # another role or spelling as well: the file says what the newest run said
            changed.append(row)
    if changed:
        store.add(changed)
    return rows


def _still_holds(old: AnswerRow, question: Question) -> bool:
    """Guard against rows from a release whose conjugations or scoring were different."""
    if old.prompt != as_recorded(sent(question)) or old.finish == UNINVERTIBLE:
        return False
    return old.finish != "decided" or question.is_settled(old.raw)
