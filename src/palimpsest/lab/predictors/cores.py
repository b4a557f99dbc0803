"""Small work on the CPU: a part of the prompts for each core, instead of all cores on each step.

Operations on small tensors take microseconds. Divided among cores, they spend their time waiting
for one another, most of all when the machine has other work; parts of a batch never wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 4
"""More threads would wait for Python's lock; they compute with several cores each instead."""


class Cores:
    """Threads that compute at the same time, each with its share of the cores.

    Args:
        n: How many threads; a single one is the caller's own.
        n_each: Cores of each.
    """

    def __init__(self, n: int, *, n_each: int = 1) -> None:
        self.n = n
        self._n_each = n_each
        self._pool = ThreadPoolExecutor(n, "palimpsest", self._start) if n > 1 else None

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Call ``function`` with every item, at once where there are threads; keep the order."""
        if self._pool is None:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))

    @contextmanager
    def undivided(self) -> Iterator[None]:
        """Let the caller's operations use all cores for a while."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.n * self._n_each)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _start(self) -> None:
        # A thread takes over the common setting when it first asks for it, and has its own
        # afterwards; in this order, only the thread's changes.
        torch.get_num_threads()
        torch.set_num_threads(self._n_each)


@contextmanager
def divided_cores(n: int | None = None) -> Iterator[Cores]:
    """Divide PyTorch's cores among threads; the caller's own operations use one core meanwhile.

    Args:
        n: How many threads; by default one for each core, at most four.

    Example:
        >>> with divided_cores(2) as cores:
        ...     cores.map(lambda x: x * x, [1, 2, 3])
        [1, 4, 9]
    """
    before = torch.get_num_threads()
    n = min(before, MOST_THREADS) if n is None else n
    cores = Cores(n, n_each=max(1, before // n))
    try:
        if n > 1:
            # After an operation on several cores, the threads of OpenMP keep them busy with
            # waiting for the next one.
            torch.set_num_threads(1)
        yield cores
    finally:
        cores.close()
        torch.set_num_threads(before)


def map_on_cores(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Call ``function`` with every item, on every core at once; keep the order.

    Whether gradients are recorded is as where this is called. ``function`` has to be safe to call
    from several threads, as whatever only computes is.

    Example:
        >>> map_on_cores(torch.sum, [torch.ones(2), torch.ones(3)])
        [tensor(2.), tensor(3.)]
    """
    n = min(torch.get_num_threads(), MOST_THREADS, len(items))
    if n < 2:
        return [function(item) for item in items]
    recorded = torch.is_grad_enabled()

    def called(item: Item) -> Result:
        with torch.set_grad_enabled(recorded):
            return function(item)

    with divided_cores(n) as cores:
        return cores.map(called, items)
