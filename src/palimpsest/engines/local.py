"""Engines of this machine: its processes, one a core, or the process that asks."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as ready_of
from multiprocessing.context import BaseContext
from typing import Any, NamedTuple

from palimpsest.engines.crew import Crew, Death, Seat, Staff, Start, Told, Worker, said_of
from palimpsest.engines.engine import Done, Engine, Work, attempt, n_cores
from palimpsest.errors import UserError

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Environment variables by which libraries start threads when they are imported."""


_MOST_HEARD = 64
"""Messages of a worker that are taken at a time, so that all are heard."""


class HereEngine(Engine):
    """This process, one piece of work after the other."""

    shares_disk = True

    def map(self, work: Work, pieces: Sequence[tuple[Any, ...]]) -> Iterator[Done]:
        """Do each piece when it is asked for."""
        for number, piece in enumerate(pieces):
            yield attempt(work, number, piece)

    def crew(self, start: Start, *, preload: Sequence[str] = ()) -> None:
        """Return none: what is loaded here stays here."""


class LocalEngine(Engine):
    """Processes of this machine, one a core."""

    name = "processes"
    shares_disk = True

    def map(self, work: Work, pieces: Sequence[tuple[Any, ...]]) -> Iterator[Done]:
        """Do the work in fresh processes; one that is killed ends no work but its own."""
        waiting = deque(enumerate(pieces))
        # A pool breaks as a whole when its process is killed, so each process has its own.
        idle = [_pool_of_one() for _ in range(min(self.workers, len(pieces)))]
        busy: dict[Future[Done], tuple[int, ProcessPoolExecutor]] = {}
        try:
            while waiting or busy:
                while waiting and idle:
                    number, piece = waiting.popleft()
                    process = idle.pop()
                    future = process.submit(_attempt_interruptibly, work, number, piece)
                    busy[future] = number, process
                ended = wait(busy, return_when=FIRST_COMPLETED).done.pop()
                number, process = busy.pop(ended)
                try:
                    done = ended.result()
                except (OSError, BrokenExecutor) as error:  # killed, by lack of memory perhaps
                    process.shutdown()
                    process = _pool_of_one()
                    done = Done(number, b"", f"its process ended: {error}")
                idle.append(process)
                yield done
        finally:
            for process in (*idle, *(process for _, process in busy.values())):
                process.shutdown(cancel_futures=True)

    def crew(self, start: Start, *, preload: Sequence[str] = ()) -> Crew:
        """Return processes that keep what they have loaded."""
        return Crew(ProcessStaff(start, self._asked_for, preload))


def _pool_of_one() -> ProcessPoolExecutor:
    """Return a pool of one process, which does one piece of work after the other."""
    # Forking a process that has started threads of PyTorch can lock up.
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=spawn, initializer=_begin_worker)


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
    _obey_parent(lambda: os._exit(1))


def _obey_parent(end: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # while idle: the parent is told, and ends us
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        end()

    threading.Thread(target=follow, daemon=True).start()


class _Process(Worker):
    """A process of this machine, spoken to through a pipe."""

    def __init__(self, context: BaseContext, start: Start, settings: _Settings) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(  # type: ignore[attr-defined]
            target=_work, args=(theirs, start, settings), daemon=True
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
            self._end_all()
            why = f"its process ended with exit code {self.process.exitcode}"
            return Told("dead", Death(why))
        return told

    def hear_all(self) -> Iterator[Told]:
        """Yield what it has said; there is something."""
        for _ in range(_MOST_HEARD):
            told = self.hear()
            yield told
            if told.kind != "part" or not self.pipe.poll():
                return

    def kill(self) -> None:
        """End the process, and wait for it."""
        self.process.kill()
        self._end_all()
        self.pipe.close()

    def _end_all(self) -> None:
        """End what the process has started, such as vLLM's own, which would keep its GPUs."""
        with suppress(OSError):  # it ended before it had a group, or nothing is left
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()


class ProcessStaff(Staff):
    """Processes of this machine, which share its cores and its GPUs among them.

    They are forked from a process that has imported what they need and does nothing else: they
    begin at once, and have its memory in common. Where there are no such servers, they are spawned.
    Forking this process itself, with threads of PyTorch in it, can lock up.

    Args:
        start: Makes a worker's hand.
        n_workers: How many; by default one a GPU, or as many as a model's share of them allows,
            and one a core where there are none.
        preload: Modules that the hand needs.
    """

    is_here = True

    def __init__(
        self, start: Start, n_workers: int | None = None, preload: Sequence[str] = ()
    ) -> None:
        self._start = start
        # Its server imports, which takes seconds, while whoever hires has other things to do.
        self._context = _context(["torch", start.__module__, *preload])
        self._gpus = visible_gpus()
        self._is_default = n_workers is None
        self.n_workers = n_workers or default_workers()

    def need(self, n_gpus: int) -> None:
        """Check that each worker has so many GPUs for itself.

        Raises:
            UserError: This machine has fewer.
        """
        if self._is_default and n_gpus:
            self.n_workers = max(1, min(self.n_workers, len(self._gpus) // n_gpus))
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
        """Start a process."""
        gpus = gpus_of(place, self.n_workers, self._gpus)
        settings = _Settings(gpus, max(1, n_cores() // self.n_workers), dict(os.environ))
        return _Process(self._context, self._start, settings)

    def listen(self, workers: Sequence[Worker], *, wait: bool) -> list[tuple[Worker, Told]]:
        """Take what is in the pipes."""
        by_pipe = {worker.pipe: worker for worker in workers if isinstance(worker, _Process)}
        ready = [by_pipe[pipe] for pipe in ready_of(list(by_pipe), None if wait else 0)]  # type: ignore[index]
        return [(worker, told) for worker in ready for told in worker.hear_all()]


class _Settings(NamedTuple):
    """What a process is told of its surroundings."""

    gpus: str | None
    """Those that it may use, as CUDA names them."""
    n_threads: int
    environment: Mapping[str, str]
    """Of whoever hires it; that of the server may be older."""


def _context(preload: Sequence[str]) -> BaseContext:
    """Return how processes are started, with a server that has imported the modules."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))  # nothing but one thread is ever forked
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
    return context


def _work(pipe: Connection, start: Start, settings: _Settings) -> None:
    """Do pieces of work until the pipe ends."""
    os.environ.clear()
    os.environ.update(settings.environment)
    if settings.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = settings.gpus
    os.environ["OMP_NUM_THREADS"] = str(settings.n_threads)
    import torch

    gc.freeze()  # looking for garbage in what the server imported would copy its pages
    torch.set_num_threads(settings.n_threads)
    # It may have processes of its own, as vLLM has for several GPUs; Python forbids it by default.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    os.setsid()  # a group of its own, so that its processes can be ended with it
    _obey_parent(lambda: os.killpg(0, signal.SIGKILL))
    hand = start()
    pipe.send(Told("ready", Seat.here()))
    while True:
        try:
            piece = pipe.recv()
        except EOFError:
            return
        for told in said_of(hand, piece):
            pipe.send(told)


def default_workers() -> int:
    """Return how many workers there are if nobody says: one a GPU, else one a core."""
    return len(visible_gpus()) or n_cores()


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
