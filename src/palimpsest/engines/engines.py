"""Where the runs of a sweep are done: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, NamedTuple

from palimpsest.errors import MissingExtraError, UserError, did_you_mean

Work = Callable[..., bytes]
"""Something to be done elsewhere: a function of a module, its arguments and result plain values."""


class Done(NamedTuple):
    """What came of one piece of work."""

    number: int
    """Which of the pieces."""
    result: bytes
    error: str
    """The user's mistake or the machine's trouble; empty if there was none."""


class Engine(ABC):
    """Does pieces of work side by side, each with one thread."""

    shares_disk: bool
    """Whether the work can keep its unfinished state in our folders."""

    @abstractmethod
    def map(self, work: Work, pieces: Sequence[tuple[Any, ...]]) -> Iterator[Done]:
        """Do ``work(*piece)`` for each piece and yield what came of it, the first finished first.

        Raises:
            KeyboardInterrupt: Ctrl-C, once every process has saved what it was doing.
        """


class LocalEngine(Engine):
    """Processes of this machine, one a core.

    Args:
        workers: How many; as many as there are usable cores if left out.
    """

    shares_disk = True

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or _n_cores()

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
                pool.submit(_attempt_here, work, index, piece): index
                for index, piece in enumerate(pieces)
            }
            for future in as_completed(futures):
                try:
                    yield future.result()
                except OSError as error:  # the process was killed, by lack of memory perhaps
                    yield Done(futures[future], b"", f"its process ended: {error}")
        finally:
            pool.shutdown(cancel_futures=True)


class RayEngine(Engine):
    """A Ray cluster: one core for each piece of work.

    Its machines need this package, and nothing else of ours: configurations go there, models and
    results come back. What a lost machine was doing is done again.

    Args:
        address: The cluster's, such as ``ray://head:10001`` or ``auto``; one is started here if
            left out.
        workers: Cores of a cluster that is started here.

    Raises:
        MissingExtraError: Ray is not installed.
        UserError: There is no cluster at the address.
    """

    shares_disk = False

    def __init__(self, address: str | None = None, *, workers: int | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise MissingExtraError("Sweeps on Ray", package="ray", extra="ray") from None
        self._ray: Any = ray
        if self._ray.is_initialized():
            return
        # A cluster of one's own has as many cores as asked for; an existing one has its own.
        own = {"num_cpus": workers or _n_cores(), "include_dashboard": False}
        try:
            self._ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level="error",
                **({} if address else own),
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                f"No Ray cluster answers at '{address}': {error}",
                hint="Start one with: ray start --head, or leave --address out.",
            ) from error

    def map(self, work: Work, pieces: Sequence[tuple[Any, ...]]) -> Iterator[Done]:
        """Do the work on the cluster."""
        remote = self._ray.remote(num_cpus=1)(_attempt_alone)
        waiting = {remote.remote(work, i, piece): i for i, piece in enumerate(pieces)}
        try:
            while waiting:
                [ready], _ = self._ray.wait(list(waiting), num_returns=1)
                index = waiting.pop(ready)
                try:
                    yield self._ray.get(ready)
                except self._ray.exceptions.RayError as error:
                    yield Done(index, b"", f"Ray lost it: {error}")
        finally:
            for task in waiting:
                self._ray.cancel(task)

    def close(self) -> None:
        """Leave the cluster, or end that of one's own."""
        self._ray.shutdown()


def make_engine(name: str, *, workers: int | None = None, address: str | None = None) -> Engine:
    """Return the engine of a name.

    Raises:
        UserError: No such engine, or an address for one that has none.
        MissingExtraError: Ray is not installed.

    Example:
        >>> make_engine("locl")
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: No engine named 'locl'. Did you mean 'local'?
        There are: local, ray.
    """
    if name == "ray":
        return RayEngine(address, workers=workers)
    if name != "local":
        raise UserError(
            f"No engine named '{name}'.{did_you_mean(name, ('local', 'ray'))}",
            hint="There are: local, ray.",
        )
    if address is not None:
        raise UserError(
            f"The address '{address}' is for Ray.", hint="Add --engine ray, or leave it out."
        )
    return LocalEngine(workers)


def attempt(work: Work, index: int, piece: tuple[Any, ...]) -> Done:
    """Do one piece of work; a user's mistake is its result and ends no other."""
    try:
        return Done(index, work(*piece), "")
    except UserError as error:
        return Done(index, b"", str(error))


def _attempt_here(work: Work, index: int, piece: tuple[Any, ...]) -> Done:
    """Do one piece of work in a process of this machine, which obeys Ctrl-C meanwhile."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return attempt(work, index, piece)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _attempt_alone(work: Work, index: int, piece: tuple[Any, ...]) -> Done:
    import torch

    torch.set_num_threads(1)
    return attempt(work, index, piece)


def _begin_worker() -> None:
    """Use one thread, and end when the sweep is killed: an orphan would go on writing."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # while idle: the parent is told, and ends us
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
