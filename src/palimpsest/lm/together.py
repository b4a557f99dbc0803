"""Answers read together, where a conjugation inverts many much faster than each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from palimpsest.lm.exchange import Exchange

T = TypeVar("T")

_N_WAITING = 64
"""Answers that wait to be inverted together, where that is faster."""

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
    replies: Iterable[T], raws: Callable[[T], Sequence[tuple[Exchange, str]]]
) -> Iterator[T]:
    """Yield replies in order, held back for a moment where reading many at once is faster.

    Args:
        replies: As models give them.
        raws: The raw answers in a reply, with the exchanges by which they will be read.
    """
    waiting: list[T] = []
    since = time.monotonic()
    for reply in replies:
        if not any(exchange.conjugation.batched for exchange, _ in raws(reply)):
            yield reply
            continue
        if not waiting:
            since = time.monotonic()
        waiting.append(reply)
        if len(waiting) == _N_WAITING or time.monotonic() - since > _WAIT_SECONDS:
            prepare_answers(pair for each in waiting for pair in raws(each))
            yield from waiting
            waiting = []
    prepare_answers(pair for each in waiting for pair in raws(each))
    yield from waiting


def chunked(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield items in lists of a size; the last may be shorter.

    Example:
        >>> list(chunked("abcde", 2))
        [['a', 'b'], ['c', 'd'], ['e']]
    """
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk
