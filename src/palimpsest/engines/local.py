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
from palimpsest.errors import UserError


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

    name = "processes"
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

    def __init__(self, start: Start, gpus: str | None, n_threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_work, args=(theirs, start, gpus, n_threads), daemon=True
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
        self._gpus = visible_gpus()

    def need(self, n_gpus: int) -> None:
        """Check that each worker has so many GPUs for itself.

        Raises:
            UserError: This machine has fewer.
        """
        n_each = len(self._gpus) // self.n_workers
        if n_gpus <= n_each:
            return
        here = f"this machine has {len(self._gpus)}"
        if n_gpus > len(self._gpus):
            raise UserError(
                f"The model needs {n_gpus} GPUs, and {here}.",
                hint="Lower tensor_parallel_size, or ask it on a larger machine: --engine ray "
                "--address ADDRESS.",
            )
        raise UserError(
            f"The model needs {n_gpus} GPUs for each worker; {here}, which is {n_each} for each of "
            f"{self.n_workers}.",
            hint=f"Use --workers {len(self._gpus) // n_gpus}.",
        )

    def close(self) -> None:
        """Do nothing: a process keeps its GPUs no longer than it lives."""

    def hire(self, place: int) -> Worker:
        """Start a process; spawned, as forking one with threads of PyTorch can lock up."""
        gpus = gpus_of(place, self.n_workers, self._gpus)
        return _Process(self._start, gpus, max(1, n_cores() // self.n_workers))

    def listen(self, workers: Sequence[Worker]) -> list[tuple[Worker, Told]]:
        """Wait on the pipes."""
        by_pipe = {worker.pipe: worker for worker in workers if isinstance(worker, _Process)}
        return [(by_pipe[pipe], by_pipe[pipe].hear()) for pipe in wait(list(by_pipe))]  # type: ignore[index]


def _work(pipe: Connection, start: Start, gpus: str | None, n_threads: int) -> None:
    """Do pieces of work until the pipe ends."""
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    os.environ["OMP_NUM_THREADS"] = str(n_threads)  # torch is not there yet
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


def visible_gpus() -> list[str]:
    """Return what CUDA calls the GPUs that this process may use, without touching them."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [each.strip() for each in told.split(",") if each.strip()]
    import torch

    return list(map(str, range(torch.cuda.device_count())))


def gpus_of(place: int, n_workers: int, visible: Sequence[str]) -> str | None:
    """Return which of the visible GPUs a worker takes; ``None`` where there are none.

    Args:
        place: Of the worker.
        n_workers: How many share the GPUs.
        visible: What CUDA calls them.

    Example:
        >>> [gpus_of(place, 2, ["0", "1", "2", "3"]) for place in range(2)]
        ['0,2', '1,3']
        >>> [gpus_of(place, 3, ["4", "5"]) for place in range(3)]
        ['4', '5', '4']
    """
    if not visible:
        return None
    return ",".join(visible[place::n_workers]) or visible[place % len(visible)]
