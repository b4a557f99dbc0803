"""Small models on the CPU: a part of the batch for each core, instead of all cores on each step.

The operations of a small network take microseconds. Divided among cores, they spend their time
waiting for one another, most of all when the machine has other work; parts of a batch never wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from palimpsest.lm.models.huggingface.cache import without_gaps
from palimpsest.lm.models.huggingface.decoders import Decoder

Item = TypeVar("Item")
Result = TypeVar("Result")


class Threads:
    """Workers that compute on one core each.

    Args:
        n: How many.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        before = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(n, "palimpsest", _use_one_core)
        self.map(lambda _: None, range(n))
        torch.set_num_threads(before)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Call ``function`` with every item at once; return the results in order."""
        return list(self._pool.map(function, items))

    def close(self) -> None:
        """End the workers."""
        self._pool.shutdown()


def _use_one_core() -> None:
    # A thread takes over the common setting when it first asks for it, and has its own
    # afterwards; in this order, and with the caller's set again, only the worker's changes.
    torch.get_num_threads()
    torch.set_num_threads(1)


class DividedDecoder:
    """A decoder whose rows are dealt out to several, which run at the same time.

    Args:
        threads: The workers.
        prompts: Token ids, none empty, the longest first.
        new: Makes the decoder of a part.
    """

    def __init__(
        self,
        threads: Threads,
        prompts: Sequence[Sequence[int]],
        new: Callable[[Sequence[Sequence[int]]], Decoder],
    ) -> None:
        # All tensors are handled by the workers: after an operation on several cores, the
        # threads of OpenMP keep those cores busy with waiting for the next one.
        self._threads = threads
        n_parts = min(threads.n, len(prompts))
        # Dealt like cards, so that each part has as many long prompts as the others.
        self._rows = [list(range(len(prompts)))[part::n_parts] for part in range(n_parts)]
        self._parts = threads.map(new, [prompts[part::n_parts] for part in range(n_parts)])

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
        self._threads.map(lambda work: work[0].keep(work[2]), left)
        self._parts = [part for part, _, _ in left]
        self._rows = [[places[own[line]] for line in order] for _, own, order in left]

    def _gathered(self, results: Sequence[Sequence[int]]) -> list[int]:
        tokens = [0] * sum(map(len, self._rows))
        for rows, found in zip(self._rows, results, strict=True):
            for row, token in zip(rows, found, strict=True):
                tokens[row] = token
        return tokens
