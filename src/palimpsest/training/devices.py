"""Devices of a computation: cores of this process, and several processes joined by Accelerate.

Operations on small tensors take microseconds. Divided among cores, they spend their time waiting
for one another, most of all when the machine has other work; so each core gets a part of the
prompts instead of a part of each step. Parts of a batch never wait.

``torchrun --nproc-per-node 2 …`` starts two processes on this machine, on CPUs or GPUs;
``accelerate launch`` does on GPUs (on CPUs it needs MPI).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from palimpsest.errors import MissingExtraError, UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Processes(ABC):
    """The device, this process's share of a batch, and sums over all processes."""

    device: torch.device
    n: int
    """How many processes."""
    rank: int
    """Which of them this is; the first one writes the files."""

    @abstractmethod
    def joined(self, model: nn.Module) -> nn.Module:
        """Return the model with gradients that are means over all processes."""

    @abstractmethod
    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over all processes, the same in each of them."""

    @abstractmethod
    def wait(self) -> None:
        """Wait until all processes are here."""

    def share(self, rows: Any) -> Any:
        """Return this process's rows of a batch's tensor, on its device."""
        return rows[self.rank :: self.n].to(self.device, non_blocking=True)


class OneProcess(Processes):
    """A training by itself.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:0``, ….

    Raises:
        UserError: The device is not there.
    """

    def __init__(self, device: str) -> None:
        self.device = chosen_device(device)
        self.n, self.rank = 1, 0

    def joined(self, model: nn.Module) -> nn.Module:
        """Return the model as it is."""
        return model

    def mean(self, values: Tensor) -> Tensor:
        """Return the values as they are."""
        return values

    def wait(self) -> None:
        """Go on."""


class LaunchedProcesses(Processes):
    """One of several processes, each with a part of every batch.

    Every process draws the whole batch, which is a function of its step, and takes its rows; the
    gradients are averaged, so that all make the same update. The result is that of one process but
    for the rounding of sums.

    Args:
        device: As for :class:`OneProcess`; ``cuda`` gives each process a GPU of its own.

    Raises:
        MissingExtraError: Accelerate is not installed.
    """

    def __init__(self, device: str) -> None:
        try:
            from accelerate import Accelerator
        except ImportError:
            raise MissingExtraError(
                "Trainings in several processes", package="accelerate", extra="trainer"
            ) from None
        on_cpu = chosen_device(device).type == "cpu"
        self._accelerator = Accelerator(cpu=on_cpu, mixed_precision="no")
        self.device = self._accelerator.device
        self.n, self.rank = self._accelerator.num_processes, self._accelerator.process_index

    def joined(self, model: nn.Module) -> nn.Module:
        """Return the model in Accelerate's wrapper."""
        joined: nn.Module = self._accelerator.prepare_model(model)
        return joined

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over all processes, the same in each of them."""
        mean: Tensor = self._accelerator.reduce(values, "mean")
        return mean

    def wait(self) -> None:
        """Wait until all processes are here."""
        self._accelerator.wait_for_everyone()


def find_processes(device: str, *, batch_size: int) -> Processes:
    """Return where to compute: with others if ``torchrun`` or ``accelerate launch`` started us.

    Raises:
        UserError: No such device, or a batch that does not divide among the processes.
    """
    n = int(os.environ.get("WORLD_SIZE", "1"))
    if batch_size % n:
        raise UserError(
            f"{n} processes cannot share batches of {batch_size} prompts evenly.",
            hint=f"Choose a batch_size that is a multiple of {n}.",
        )
    return LaunchedProcesses(device) if n > 1 else OneProcess(device)


def chosen_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is the GPU if there is one.

    Raises:
        UserError: No such device, or not on this machine.

    Example:
        >>> chosen_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(
            f"No device named '{name}'.", hint="It can be: auto, cpu, cuda, cuda:1, …."
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"The device '{name}' was asked for, but PyTorch finds no GPU.",
            hint="Leave the device out, or choose cpu.",
        )
    return device


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
