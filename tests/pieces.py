"""Work for engines, in a module that other processes can import."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from palimpsest.errors import UserError


def double(number: int) -> bytes:
    """Return twice the number, as text."""
    if number < 0:
        raise UserError(f"{number} is negative.")
    return str(2 * number).encode()


def counter() -> Callable[[Any], Iterator[Any]]:
    """A hand that counts its pieces: with it, workers show that they keep what they have."""
    n_pieces = 0

    def hand(piece: Any) -> Iterator[Any]:
        nonlocal n_pieces
        n_pieces += 1
        if piece == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if piece == "mistake":
            raise UserError("It is wrong.", hint="Write it right.")
        if piece == "fault":
            raise ZeroDivisionError("by nothing")
        if piece == "child":
            child = multiprocessing.get_context("spawn").Process(target=os.getpid)
            child.start()
            child.join()
            yield child.exitcode
            return
        if piece == "slowly":
            for _ in range(20):
                time.sleep(0.01)
                yield "part"
            return
        if piece == "when":
            yield time.monotonic()
            return
        if piece == "sleep":
            time.sleep(60)
        yield piece
        yield os.getpid(), n_pieces

    return hand


def keeper() -> Callable[[Any], Iterator[Any]]:
    """A hand that starts a process of its own, says its number, and keeps it."""

    def hand(piece: Any) -> Iterator[Any]:
        yield subprocess.Popen([sys.executable, "-c", "import time; time.sleep(90)"]).pid

    return hand


def die_at_one(number: int) -> bytes:
    """Be killed at 1; else return the number, as text."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return str(number).encode()


def gpu_teller() -> Callable[[Any], Iterator[Any]]:
    """A hand that says which GPUs it has; it dies of ``die``."""

    def hand(piece: Any) -> Iterator[Any]:
        if piece == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        yield os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "")

    return hand


def stillborn() -> Callable[[Any], Iterator[Any]]:
    """A hand that is never made."""
    os._exit(7)
