"""Progress of a training: loss, excess, rate, TensorBoard; and Ctrl-C when all can be saved."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
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
        return Progress(step, self._n_steps, loss, excess, rate)


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


class Interrupts:
    """Whether Ctrl-C was pressed."""

    pressed: bool = False


@contextmanager
def noticed_interrupts() -> Iterator[Interrupts]:
    """Note the first Ctrl-C instead of stopping in the middle of an update; obey the second.

    Outside the main thread, where Python handles no signals, it does nothing.
    """
    interrupts = Interrupts()

    def note(number: int, frame: FrameType | None) -> None:
        interrupts.pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT)
    # A shell that starts us in the background has us ignore Ctrl-C; so we go on doing.
    if before != signal.default_int_handler:
        yield interrupts
        return
    try:
        signal.signal(signal.SIGINT, note)
    except ValueError:
        yield interrupts
        return
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
