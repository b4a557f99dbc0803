"""Wrong answers that are asked to their end although their score is settled: for whoever looks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from palimpsest.files import digest
from palimpsest.judging.questions import Question
from palimpsest.records import CUT, THRESHOLDS, AnswerKey, AnswerRow

Whole = Literal["none", "sample", "all"]
"""How many wrong answers are asked to their end."""


def sample_rank(source_id: str) -> str:
    """Return what orders the examples of a cell: a hash, so that neither place nor time matters.

    It has nothing to do with the one that halves the examples.
    """
    return digest(f"palimpsest whole {source_id}")


def whole_if_wrong(questions: Iterable[Question], whole: Whole) -> set[AnswerKey]:
    """Return the questions whose answers are asked to their end if they are wrong.

    In a sample these are the first of each cell under each way of asking. Where some of them are
    right, :func:`to_ask_again` has the rest of the sample afterwards.
    """
    if whole == "none":
        return set()
    n = THRESHOLDS.n_whole if whole == "sample" else None
    return {question.key for group in _groups(questions) for question in group[:n]}


def to_ask_again(
    questions: Iterable[Question], rows: Mapping[AnswerKey, AnswerRow], whole: Whole
) -> list[Question]:
    """Return the questions of the sample whose answers were cut.

    The sample is the first intruded and the first broken answers of each cell under each way of
    asking: it depends on what the answers are, not on when they came. Answers that earlier versions
    ended early stay so.
    """
    if whole != "sample":
        return []
    return [question for group in _groups(questions) for question in _cut(group, rows)]


def _cut(group: Sequence[Question], rows: Mapping[AnswerKey, AnswerRow]) -> Iterator[Question]:
    for outcome in ("intruded", "broken"):
        wrong = [
            question
            for question in group
            if question.key in rows and rows[question.key].outcome == outcome
        ]
        for question in wrong[: THRESHOLDS.n_whole]:
            if rows[question.key].finish == CUT:
                yield question


def _groups(questions: Iterable[Question]) -> list[list[Question]]:
    """Return the questions of each cell under each way of asking, in the order of the sample."""
    groups: dict[tuple[str, str], list[Question]] = defaultdict(list)
    for question in questions:
        groups[question.key.conjugation, question.example.cell].append(question)
    for group in groups.values():
        group.sort(key=lambda question: sample_rank(question.key.source_id))
    return list(groups.values())
