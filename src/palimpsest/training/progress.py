"""Progress of a training: loss, excess, rate, TensorBoard; and the signals that stop it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from palimpsest.errors import MissingExtraError, Terminated


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
    """Whether Ctrl-C was pressed, or SIGTERM came."""

    pressed: bool = False
    error: type[BaseException] = KeyboardInterrupt
    """What to raise once everything is saved."""


def _terminate(number: int, frame: FrameType | None) -> None:
    """Tell the processes that work for us, as a terminal tells them of Ctrl-C, and end."""
    for process in multiprocessing.active_children():
        if process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
    raise Terminated


_OURS = {
    signal.SIGINT: (signal.default_int_handler,),
    signal.SIGTERM: (signal.SIG_DFL, _terminate),
}
"""Handlers that may be replaced for a while. Others are somebody else's; and a shell that starts us
in the background has us ignore Ctrl-C, so we go on doing."""


@contextmanager
def noticed_interrupts() -> Iterator[Interrupts]:
    """Note the first Ctrl-C or SIGTERM, not to stop in the middle of an update; obey the second.

    The second of its kind: a worker whose group is sent SIGTERM gets Ctrl-C from its parent, too.
    Outside the main thread, where Python handles no signals, it does nothing.
    """
    interrupts = Interrupts()
    before = {number: signal.getsignal(number) for number in _OURS}
    noted = [number for number, handlers in _OURS.items() if before[number] in handlers]

    def note(number: int, frame: FrameType | None) -> None:
        interrupts.pressed = True
        if number == signal.SIGTERM:
            interrupts.error = Terminated
        signal.signal(number, before[signal.Signals(number)])

    def restore() -> None:
        for number in noted:
            signal.signal(number, before[number])

    if threading.current_thread() is not threading.main_thread():
        noted.clear()
    for number in noted:
        signal.signal(number, note)
    try:
        yield interrupts
    finally:
        restore()


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Let SIGTERM raise :class:`~palimpsest.errors.Terminated`, not end us without a word.

    Processes that were started with ``multiprocessing`` are interrupted: they save, and we need not
    wait until they have done all. Leaves alone what somebody else does on it; outside the main
    thread it does nothing.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
