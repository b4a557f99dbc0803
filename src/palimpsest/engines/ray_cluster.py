"""Engine on a Ray cluster: one core for each piece of work."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from palimpsest.engines.crew import Crew, Hand, Staff, Start, Told, Worker, said_of
from palimpsest.engines.engine import Done, Engine, Work, attempt, n_cores
from palimpsest.errors import MissingExtraError, UserError

N_STARTS = 3
"""Attempts to start a cluster of one's own; each may take Ray's half a minute."""


class RayEngine(Engine):
    """A Ray cluster: one core for each piece of work.

    Its machines need this package, and nothing else of ours: work goes there, results come back.
    What a lost machine was doing is done again.

    Args:
        workers: Cores of a cluster that is started here.
        address: The cluster's, such as ``ray://head:10001`` or ``auto``; one is started here if
            left out.

    Raises:
        MissingExtraError: Ray is not installed.
        UserError: There is no cluster at the address.
    """

    shares_disk = False

    def __init__(self, *, workers: int | None = None, address: str | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise MissingExtraError("Ray clusters", package="ray", extra="ray") from None
        self._ray: Any = ray
        self.workers = workers or n_cores()
        if self._ray.is_initialized():
            return
        # A cluster of one's own has as many cores as asked for; an existing one has its own.
        own = {"num_cpus": workers or n_cores(), "include_dashboard": False}
        settings = {"log_to_driver": False, "logging_level": "error", **({} if address else own)}
        self._start(address or "local", settings)

    def _start(self, address: str, settings: dict[str, Any]) -> None:
        """Start Ray, anew where it gives up: on a busy machine its own time limits strike."""
        for left in reversed(range(N_STARTS)):
            try:
                self._ray.init(address=address, **settings)
            except Exception as error:  # Ray raises bare exceptions when it is out of time
                self._ray.shutdown()
                if left and address == "local":
                    continue
                raise UserError(
                    f"No Ray cluster answers at '{address}': {error}",
                    hint="Start one with: ray start --head, or leave --address out; or try again "
                    "when the machine is less busy, or with --engine local.",
                ) from error
            return

    def map(self, work: Work, pieces: Sequence[tuple[Any, ...]]) -> Iterator[Done]:
        """Do the work on the cluster."""
        remote = self._ray.remote(num_cpus=1)(_attempt_with_one_thread)
        waiting = {remote.remote(work, i, piece): i for i, piece in enumerate(pieces)}
        try:
            while waiting:
                [ready], _ = self._ray.wait(list(waiting), num_returns=1)
                number = waiting.pop(ready)
                try:
                    yield self._ray.get(ready)
                except self._ray.exceptions.RayError as error:
                    yield Done(number, b"", f"Ray lost it: {error}")
        finally:
            for task in waiting:
                self._ray.cancel(task)

    def crew(self, start: Start) -> Crew:
        """Return actors that keep what they have loaded; each has a GPU where there are enough."""
        return Crew(ActorStaff(self._ray, start, self.workers))

    def close(self) -> None:
        """Leave the cluster, or end that of one's own."""
        self._ray.shutdown()


def _attempt_with_one_thread(work: Work, number: int, piece: tuple[Any, ...]) -> Done:
    import torch

    torch.set_num_threads(1)
    return attempt(work, number, piece)


class _Desk:
    """What an actor runs: made in the actor, it holds a worker's hand."""

    def __init__(self, start: Start) -> None:
        import torch

        torch.set_num_threads(1)
        self._hand: Hand = start()

    def begin(self) -> Told:
        """Say that it is there."""
        return Told("ready")

    def work(self, piece: Any) -> Iterator[Told]:
        """Do a piece of work."""
        yield from said_of(self._hand, piece)


class _Actor(Worker):
    """An actor, and what it is to say next."""

    def __init__(self, ray: Any, remote: Any, start: Start) -> None:
        self._ray = ray
        self._actor = remote.remote(start)
        self.pending: Any = self._actor.begin.remote()

    def give(self, piece: Any) -> None:
        """Call it; what it says comes one by one."""
        self.pending = self._actor.work.options(num_returns="streaming").remote(piece)

    def hear(self) -> Told:
        """Return what it says next, or that it is dead."""
        try:
            said = self.pending
            if isinstance(said, self._ray.ObjectRefGenerator):
                said = next(said)
            told: Told = self._ray.get(said)
        except self._ray.exceptions.RayError as error:
            return Told("dead", f"its actor died: {_last_line(error)}")
        return told

    def kill(self) -> None:
        """End the actor; one that is dead stays so."""
        self._ray.kill(self._actor)


def _last_line(error: Exception) -> str:
    """Return the line of a traceback that says what went wrong, without colours."""
    return re.sub(r"\x1b\[\d*m", "", str(error)).strip().rpartition("\n")[2].strip()


class ActorStaff(Staff):
    """Actors of a Ray cluster.

    Args:
        ray: The module.
        start: Makes a worker's hand.
        n_workers: How many.
    """

    def __init__(self, ray: Any, start: Start, n_workers: int) -> None:
        self._ray = ray
        self._start = start
        self.n_workers = n_workers
        n_gpus = ray.cluster_resources().get("GPU", 0) / n_workers
        self._remote = ray.remote(num_cpus=1, num_gpus=int(n_gpus) or n_gpus)(_Desk)

    def hire(self, place: int) -> Worker:
        """Ask the cluster for an actor."""
        return _Actor(self._ray, self._remote, self._start)

    def listen(self, workers: Sequence[Worker]) -> list[tuple[Worker, Told]]:
        """Wait for what the actors' calls return."""
        by_call = {worker.pending: worker for worker in workers if isinstance(worker, _Actor)}
        ready, _ = self._ray.wait(list(by_call), num_returns=1)
        return [(by_call[call], by_call[call].hear()) for call in ready]
