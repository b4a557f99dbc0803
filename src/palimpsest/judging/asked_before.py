"""Prompts that were asked before in the very same form, for another example, suite or way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from palimpsest.judging.questions import (
    PROMPT_CUT,
    UNINVERTIBLE,
    Question,
    RawAnswer,
    as_recorded,
)
from palimpsest.records import CUT, AnswerKey, AnswerRow, AnswerStore

EARLY = ("decided", CUT)
"""How answers finish that were settled before they ended."""

_NO_ANSWER = (UNINVERTIBLE, "refused", "failed")


def asked_before(
    questions: Sequence[Question], store: AnswerStore, to_end: set[AnswerKey]
) -> Iterator[tuple[Question, RawAnswer]]:
    """Yield the questions whose very request the store has an answer to, with that answer.

    One that was ended early is an answer to those questions alone whose outcome it settles too.

    Args:
        questions: None of which has an answer of its own.
        store: Where answers are.
        to_end: Questions whose answers are wanted whole if they are wrong.
    """
    requests = {question.request: question for question in questions}
    found = store.requested(list(requests)) if questions else {}
    for question in questions if found else ():
        old = found.get(question.request)
        if old is None or old.prompt != as_recorded(question.sent) or old.finish in _NO_ANSWER:
            continue
        finish = "decided" if old.finish == CUT else old.finish
        if finish in EARLY:
            if not question.settings.stop_when_decided:
                continue
            outcome = question.settled_outcome(old.raw)
            if outcome is None or (outcome != "right" and question.key in to_end):
                continue
        yield question, reply_of(old._replace(finish=finish))


def note_requests(
    questions: Iterable[Question], places: Mapping[AnswerKey, int], store: AnswerStore
) -> None:
    """Note in the store what was requested for the answers at some places."""
    noted = ((q.request, places[q.key]) for q in questions if q.key in places)
    store.note_requests(noted)


def reply_of(old: AnswerRow) -> RawAnswer:
    """Return what a model said, of a stored answer."""
    return RawAnswer(
        old.raw,
        old.finish,
        old.latency_seconds,
        old.n_prompt_tokens,
        old.n_answer_tokens,
        PROMPT_CUT in old.all_flags,
    )
