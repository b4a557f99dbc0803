"""Ctrl-C at a moment when everything can be saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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
