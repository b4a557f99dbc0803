"""Small models on the CPU: a part of the batch for each core, instead of all cores on each step.

The operations of a small network take microseconds. Divided among cores, they spend their time
waiting for one another, most of all when the machine has other work; parts of a batch never wait.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

from palimpsest.lab.predictors import Prompt

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


class Gradients:
    """The gradients of a batch, computed in parts at the same time.

    The parts are summed in a fixed order, so the result is the same in every run with as many
    threads; with another number, it differs by the rounding of sums.

    Args:
        forward: Predicts; the model itself, or a wrapper of it.
        model: Holds the weights, and gets the gradients.
        cores: A part for each of their threads.
    """

    def __init__(self, forward: nn.Module, model: nn.Module, cores: Cores) -> None:
        self.cores = cores
        self._model = model
        self._replicas = [_replica(model) for _ in range(cores.n - 1)]
        self._forwards = [forward, *self._replicas]

    def add(
        self,
        prompt: Prompt,
        loss: Callable[[Prompt, Tensor], Tensor],
        *,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> Tensor:
        """Add the gradient of the loss to the model's weights and return the predictions.

        Args:
            prompt: Prompts of a batch.
            loss: A mean over the prompts that it is given, from them and their predictions.
            autocast: The precision of the predictions; PyTorch keeps it for each thread.
        """
        n = len(prompt.ys)

        def part(work: tuple[nn.Module, Tensor, Tensor]) -> Tensor:
            forward, xs, ys = work
            with autocast():
                predictions = forward(xs, ys)
            predictions = predictions.float()
            (loss(Prompt(xs, ys), predictions) * (len(ys) / n)).backward()
            detached: Tensor = predictions.detach()
            return detached

        parts = zip(
            self._forwards,
            prompt.xs.tensor_split(self.cores.n),
            prompt.ys.tensor_split(self.cores.n),
            strict=True,
        )
        found = self.cores.map(part, [work for work in parts if len(work[1])])
        self._collect()
        return torch.cat(found)

    def _collect(self) -> None:
        for replica in self._replicas:
            for weight, copied in zip(self._model.parameters(), replica.parameters(), strict=True):
                if copied.grad is not None:
                    assert weight.grad is not None
                    weight.grad.add_(copied.grad)
                    copied.grad = None


def _replica(model: nn.Module) -> nn.Module:
    """Return a copy that reads the same weights, and has gradients of its own."""
    replica = copy.deepcopy(model)
    for weight, copied in zip(model.parameters(), replica.parameters(), strict=True):
        copied.data = weight.data
    return replica
