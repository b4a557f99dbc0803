"""Answers read together, where inverting or scoring many is much faster than each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from palimpsest.lm.exchange import Exchange

T = TypeVar("T")

_N_WAITING = 64
"""Answers that wait to be read together, where that is faster."""

_WAIT_SECONDS = 2.0
"""How long the first of them waits at most: so much is asked again after a crash."""


def prepare_answers(raws: Iterable[tuple[Exchange, str]]) -> None:
    """Let every conjugation that works best on many texts see all its answers at once."""
    answers: dict[str, tuple[Exchange, list[str]]] = {}
    for exchange, raw in raws:
        if exchange.conjugation.batched:
            key = exchange.conjugation.fingerprint
            answers.setdefault(key, (exchange, []))[1].append(raw)
    for exchange, texts in answers.values():
        exchange.prepare(answers=texts)


def read_together(
    replies: Iterable[T],
    *,
    waits: Callable[[T], bool],
    prepare: Callable[[Sequence[T]], None],
) -> Iterator[T]:
    """Yield replies in order, held back for a moment where working on many at once is faster.

    Args:
        replies: As models give them.
        waits: Whether a reply is better held back.
        prepare: Told which replies were held back, before they are yielded.
    """
    waiting: list[T] = []
    since = time.monotonic()
    for reply in replies:
        if not waits(reply):
            yield reply
            continue
        if not waiting:
            since = time.monotonic()
        waiting.append(reply)
        if len(waiting) == _N_WAITING or time.monotonic() - since > _WAIT_SECONDS:
            prepare(waiting)
            yield from waiting
            waiting = []
    prepare(waiting)
    yield from waiting
