"""Small networks on the CPU: a part of the batch for each core.

The operations of such a network take microseconds. Divided among cores, they spend their time
waiting for one another, most of all when the machine has other work; parts of a batch never wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from palimpsest.lm.models.huggingface.decoding import Decoder
from palimpsest.lm.models.huggingface.memory import without_gaps


def one_core_threads(n: int) -> ThreadPoolExecutor:
    """Return ``n`` workers that compute on one core each."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(n, "palimpsest", _use_one_core)
    list(pool.map(lambda _: None, range(n)))
    torch.set_num_threads(before)
    return pool


def _use_one_core() -> None:
    # A thread takes over the common setting when it first asks for it, and has its own
    # afterwards; in this order, and with the caller's set again, only the worker's changes.
    torch.get_num_threads()
    torch.set_num_threads(1)


class DividedDecoder:
    """A decoder whose rows are dealt out to several, which run at the same time.

    Args:
        threads: The workers.
        n_parts: How many decoders there are at most.
        prompts: Token ids, none empty, the longest first.
        new: Makes the decoder of a part.
    """

    def __init__(
        self,
        threads: ThreadPoolExecutor,
        n_parts: int,
        prompts: Sequence[Sequence[int]],
        new: Callable[[Sequence[Sequence[int]]], Decoder],
    ) -> None:
        # All tensors are handled by the workers: after an operation on several cores, the
        # threads of OpenMP keep those cores busy with waiting for the next one.
        self._threads = threads
        n_parts = min(n_parts, len(prompts))
        # Dealt like cards, so that each part has as many long prompts as the others.
        self._rows = [list(range(len(prompts)))[part::n_parts] for part in range(n_parts)]
        self._parts = list(threads.map(new, [prompts[part::n_parts] for part in range(n_parts)]))

    def start(self) -> list[int]:
        """Read the prompts and return the first new token of each."""
        return self._gathered(self._threads.map(lambda part: part.start(), self._parts))

    def feed(self, tokens: Sequence[int]) -> list[int]:
        """Append one token to each row and return the next ones."""
        dealt = [[tokens[row] for row in rows] for rows in self._rows]
        work = list(zip(self._parts, dealt, strict=True))
        return self._gathered(self._threads.map(lambda item: item[0].feed(item[1]), work))

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows; parts that are left with none end."""
        places = {row: place for place, row in enumerate(rows)}
        orders = [
            without_gaps(len(own), [line for line, row in enumerate(own) if row in places])
            for own in self._rows
        ]
        left = [work for work in zip(self._parts, self._rows, orders, strict=True) if work[2]]
        list(self._threads.map(lambda work: work[0].keep(work[2]), left))
        self._parts = [part for part, _, _ in left]
        self._rows = [[places[own[line]] for line in order] for _, own, order in left]

    def _gathered(self, results: Iterable[Sequence[int]]) -> list[int]:
        tokens = [0] * sum(map(len, self._rows))
        for rows, found in zip(self._rows, results, strict=True):
            for row, token in zip(rows, found, strict=True):
                tokens[row] = token
        return tokens
