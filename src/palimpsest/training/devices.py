"""Where a training computes: in one process, or in several that Accelerate joins.

``torchrun --nproc-per-node 2 …`` starts two processes on this machine, on CPUs or GPUs;
``accelerate launch`` does on GPUs (on CPUs it needs MPI).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from palimpsest.errors import MissingExtraError, UserError


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
            from accelerate import Accelerator  # type: ignore[import-untyped]
        except ImportError:
            raise MissingExtraError(
                "Trainings in several processes", package="accelerate", extra="accelerate"
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
