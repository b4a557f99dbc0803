"""Engines of this machine: its processes, one a core, or the process that asks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from palimpsest.engines.crew import Crew, Death, Seat, Staff, Start, Told, Worker, said_of
from palimpsest.engines.engine import Done, Engine, Work, attempt, n_cores


class HereEngine(Engine):
    """This process, one piece of work after the other."""

    shares_disk = True

    def map(self, work: Work, pieces: Sequence[tuple[Any, ...]]) -> Iterator[Done]:
        """Do each piece when it is asked for."""
        for number, piece in enumerate(pieces):
            yield attempt(work, number, piece)

    def crew(self, start: Start) -> None:
        """Return none: what is loaded here stays here."""


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

    def crew(self, start: Start) -> Crew:
        """Return processes that keep what they have loaded."""
        return Crew(ProcessStaff(start, self.workers))


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
    _obey_parent()


def _obey_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # while idle: the parent is told, and ends us
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class _Process(Worker):
    """A process of this machine, spoken to through a pipe."""

    def __init__(self, start: Start, place: int, n_workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_work, args=(theirs, start, place, n_workers), daemon=True
        )
        self.process.start()
        theirs.close()  # so that the pipe ends when the process does

    def give(self, piece: Any) -> None:
        """Send the piece."""
        with suppress(OSError):  # it has died: the pipe says so to whoever listens
            self.pipe.send(piece)

    def hear(self) -> Told:
        """Return what it says next, or that it is dead."""
        try:
            told: Told = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            why = f"its process ended with exit code {self.process.exitcode}"
            return Told("dead", Death(why))
        return told

    def kill(self) -> None:
        """End the process and wait for it."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


class ProcessStaff(Staff):
    """Processes of this machine, which share its cores and its GPUs among them.

    Args:
        start: Makes a worker's hand.
        n_workers: How many.
    """

    def __init__(self, start: Start, n_workers: int) -> None:
        self._start = start
        self.n_workers = n_workers

    def hire(self, place: int) -> Worker:
        """Start a process; spawned, as forking one with threads of PyTorch can lock up."""
        return _Process(self._start, place, self.n_workers)

    def listen(self, workers: Sequence[Worker]) -> list[tuple[Worker, Told]]:
        """Wait on the pipes."""
        by_pipe = {worker.pipe: worker for worker in workers if isinstance(worker, _Process)}
        return [(by_pipe[pipe], by_pipe[pipe].hear()) for pipe in wait(list(by_pipe))]  # type: ignore[index]


def _work(pipe: Connection, start: Start, place: int, n_workers: int) -> None:
    """Do pieces of work until the pipe ends."""
    gpus = gpus_of(place, n_workers, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    os.environ["OMP_NUM_THREADS"] = str(max(1, n_cores() // n_workers))  # torch is not there yet
    _obey_parent()
    hand = start()
    pipe.send(Told("ready", Seat.here()))
    while True:
        try:
            piece = pipe.recv()
        except EOFError:
            return
        for told in said_of(hand, piece):
            pipe.send(told)


def gpus_of(place: int, n_workers: int, visible: str | None) -> str | None:
    """Return which of the visible GPUs a worker takes; ``None`` where the list says nothing.

    Args:
        place: Of the worker.
        n_workers: How many share the GPUs.
        visible: ``CUDA_VISIBLE_DEVICES``.

    Example:
        >>> [gpus_of(place, 2, "0,1,2,3") for place in range(2)]
        ['0,2', '1,3']
        >>> [gpus_of(place, 3, "4,5") for place in range(3)]
        ['4', '5', '4']
    """
    gpus = [each for each in (visible or "").split(",") if each.strip()]
    if not gpus:
        return None
    return ",".join(gpus[place::n_workers]) or gpus[place % len(gpus)]
