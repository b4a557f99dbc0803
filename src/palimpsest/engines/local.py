"""Engines of this machine: its processes, one a core, or the process that asks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from palimpsest.engines.engine import Done, Engine, Work, attempt


class HereEngine(Engine):
    """This process, one piece of work after the other."""

    shares_disk = True

    def map(self, work: Work, pieces: Sequence[tuple[Any, ...]]) -> Iterator[Done]:
        """Do each piece when it is asked for."""
        for number, piece in enumerate(pieces):
            yield attempt(work, number, piece)


class LocalEngine(Engine):
    """Processes of this machine, one a core."""

    shares_disk = True

    def map(self, work: Work, pieces: Sequence[tuple[Any, ...]]) -> Iterator[Done]:
        """Do the work in fresh processes."""
        if not pieces:
            return
        pool = ProcessPoolExecutor(
            min(self.workers, len(pieces)),
            # Forking a process that has started threads of PyTorch can lock up.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_worker,
        )
        try:
            futures = {
                pool.submit(_attempt_interruptibly, work, number, piece): number
                for number, piece in enumerate(pieces)
            }
            for future in as_completed(futures):
                try:
                    yield future.result()
                except OSError as error:  # the process was killed, by lack of memory perhaps
                    yield Done(futures[future], b"", f"its process ended: {error}")
        finally:
            pool.shutdown(cancel_futures=True)


def _attempt_interruptibly(work: Work, number: int, piece: tuple[Any, ...]) -> Done:
    """Do one piece of work in a process that obeys Ctrl-C meanwhile."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return attempt(work, number, piece)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _begin_worker() -> None:
    """Use one thread, and end when the parent is killed: an orphan would go on writing."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # while idle: the parent is told, and ends us
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
