"""How a training goes: loss, excess over Bayes, rate, time left; on request in TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from palimpsest.errors import MissingExtraError


class Progress(NamedTuple):
    """Where a training is after a step."""

    step: int
    """Updates made."""
    n_steps: int
    """Updates in all."""
    loss: float
    """Mean squared error on the step's prompts, noise included."""
    excess: float | None
    """By how much the loss is above that of the Bayes predictor on the same prompts; of one step
    in twenty-five, as it takes time."""
    steps_per_second: float
    seconds_left: float

    def __str__(self) -> str:
        excess = "" if self.excess is None else f", {self.excess:+.3f} over Bayes"
        return f"loss {self.loss:.3f}{excess}, {self.steps_per_second:.1f} steps/s"


OnProgress = Callable[[Progress], None]


class Clock:
    """The rate since the first step that this process has made, which may compile."""

    def __init__(self, n_steps: int) -> None:
        self._n_steps = n_steps
        self._first: tuple[int, float] | None = None

    def progress(self, step: int, loss: float, excess: float | None) -> Progress:
        """Return the progress after ``step``."""
        now = time.monotonic()
        if self._first is None:
            self._first = step, now
        since, start = self._first
        rate = (step - since) / (now - start) if now > start else 0.0
        left = (self._n_steps - step) / rate if rate else float("nan")
        return Progress(step, self._n_steps, loss, excess, rate, left)


class Board:
    """Writes progress for TensorBoard.

    Args:
        folder: Where its files go; ``tensorboard --logdir`` shows them.
        step: Updates already made: what an interrupted training wrote after them is dropped.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError(
                "Logs for TensorBoard", package="tensorboard", extra="tensorboard"
            ) from None
        self._writer: Any = SummaryWriter(str(folder), purge_step=step)

    def write(self, progress: Progress) -> None:
        """Add one point to each curve."""
        self._writer.add_scalar("loss", progress.loss, progress.step)
        self._writer.add_scalar("steps per second", progress.steps_per_second, progress.step)
        if progress.excess is not None:
            self._writer.add_scalar("excess over Bayes", progress.excess, progress.step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
