"""Engine on a Ray cluster: one core for each piece of work."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from palimpsest.engines.crew import (
    Crew,
    Death,
    Hand,
    Seat,
    Staff,
    Start,
    Told,
    Worker,
    said_of,
)
from palimpsest.engines.engine import Done, Engine, Work, attempt, n_cores
from palimpsest.errors import MissingExtraError, UserError

N_STARTS = 3
"""Attempts to start a cluster of one's own; each may take Ray's half a minute."""

_CLIENT = "ray://"
_CLIENT_PORT = 10001
"""How an address begins that is Ray's client's, and where a head listens for it by default."""

_KNOCK_SECONDS = 10.0

_LOG = logging.getLogger("palimpsest.engines")

_PLACE_SECONDS = 30.0
"""How long a worker may wait for a place in the cluster before that is told."""

_N_AHEAD = 3
"""Calls that an actor has at a time: it never waits for the way there and back."""


class RayEngine(Engine):
    """A Ray cluster: one core for each piece of work.

    Its machines need this package, and nothing else of ours: work goes there, results come back.
    What a lost machine was doing is done again.

    Args:
        workers: Cores of a cluster that is started here, and workers of a crew; by default one for
            each GPU of the cluster, or for each core where there are none.
        address: The cluster's, such as ``ray://head:10001`` or ``auto``; one is started here if
            left out.

    Raises:
        MissingExtraError: Ray is not installed.
        UserError: There is no cluster at the address.
    """

    name = "ray"
    shares_disk = False

    def __init__(self, *, workers: int | None = None, address: str | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise MissingExtraError("Ray clusters", package="ray", extra="ray") from None
        self._ray: Any = ray
        self.workers = workers or n_cores()
        self._asked_for = workers
        if self._ray.is_initialized():
            return
        # A cluster of one's own has as many cores as asked for; an existing one has its own.
        own = {"num_cpus": workers or n_cores(), "include_dashboard": False}
        settings = {"log_to_driver": False, "logging_level": "error", **({} if address else own)}
        self._start(with_port(address or "local"), settings)

    def _start(self, address: str, settings: dict[str, Any]) -> None:
        """Start Ray, anew where it gives up: on a busy machine its own time limits strike."""
        _knock(address)
        for left in reversed(range(N_STARTS)):
            try:
                self._ray.init(address=address, **settings)
            except Exception as error:  # Ray raises bare exceptions when it is out of time
                self._ray.shutdown()
                if left and address == "local":
                    continue
                raise _no_cluster(address, error) from error
            # Ray prints what befalls machines to standard output, where --json is.
            self._ray._private.worker._worker_logs_enabled = False
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

    def crew(self, start: Start, *, preload: Sequence[str] = ()) -> Crew:
        """Return actors that keep what they have loaded; each has a GPU where there are enough."""
        return Crew(ActorStaff(self._ray, start, self._asked_for))

    def close(self) -> None:
        """Leave the cluster, or end that of one's own."""
        self._ray.shutdown()


def with_port(address: str) -> str:
    """Return an address of Ray's client with its port; others as they are.

    Example:
        >>> with_port("ray://head"), with_port("ray://head:5"), with_port("auto")
        ('ray://head:10001', 'ray://head:5', 'auto')
    """
    named = re.fullmatch(rf"{_CLIENT}([^/:]+|\[[^]]+\])/?", address)
    return address if named is None else f"{_CLIENT}{named[1]}:{_CLIENT_PORT}"


def _knock(address: str) -> None:
    """Raise an error where nobody listens, which Ray itself tells after minutes.

    Raises:
        UserError: Nobody does.
    """
    found = re.fullmatch(rf"(?:{_CLIENT})?([^/:]+|\[[^]]+\]):(\d{{1,5}})", address)
    if found is None:  # auto, local or a name that Ray knows
        return
    try:
        socket.create_connection((found[1].strip("[]"), int(found[2])), _KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> UserError:
    said = " ".join(str(error).split())
    if "Version mismatch" in said:
        return UserError(
            f"The Ray cluster at '{address}' has other releases than this process. {said}",
            hint="Install the same Ray with the same Python here and on all of its machines.",
        )
    if "ray[client]" in said:
        return MissingExtraError("ray:// addresses", package="ray[client]", extra="ray")
    hint = (
        "Start one with: ray start --head, or leave --address out; or try again when the machine "
        "is less busy, or with --engine processes."
    )
    if address.startswith(_CLIENT):
        hint = (
            "Is its head started (ray start --head), is port 10001 open from here, and does "
            "RAY_AUTH_TOKEN hold its token, if it wants one? On the head itself: --address auto"
        )
    return UserError(f"No Ray cluster answers at '{address}': {said}", hint=hint)


@contextmanager
def _cluster_is_there() -> Iterator[None]:
    """Say it in the user's words where the cluster goes while it is spoken to through its client.

    Raises:
        UserError: It is not there any more.
    """
    try:
        yield
    except ConnectionError as error:
        raise UserError(
            f"The Ray cluster does not answer any more: {_last_line(error)}.",
            hint="Is its head still running, and the network up? Every answer that came is kept: "
            "the same command continues.",
        ) from error


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
        self._saying: Iterator[Told] = iter(())

    def begin(self) -> Told:
        """Say that it is there."""
        return Told("ready", Seat.here())

    def work(self, piece: Any) -> Told | None:
        """Begin a piece of work and return what it says first."""
        self._saying = said_of(self._hand, piece)
        return self.go_on()

    def go_on(self) -> Told | None:
        """Return what it says next of the piece; nothing after its end."""
        return next(self._saying, None)


class _Actor(Worker):
    """An actor, and the calls that it has not answered.

    It is called ahead, so that it goes on while what it said is on its way; plain calls, as
    ``ray://`` has no streams.
    """

    def __init__(self, ray: Any, remote: Any, start: Start) -> None:
        self._ray = ray
        self._actor = remote.remote(start)
        self._calls = deque([self._actor.begin.remote()])
        self.since: float | None = time.monotonic()
        """When it was hired; ``None`` once it is ready."""

    @property
    def pending(self) -> Any:
        """The call that it answers next."""
        return self._calls[0]

    def give(self, piece: Any) -> None:
        """Call it; what it says comes one by one."""
        self._calls = deque([self._actor.work.remote(piece)])
        while len(self._calls) < _N_AHEAD:
            self._calls.append(self._actor.go_on.remote())

    def hear(self) -> Told:
        """Return what it says next, or that it is dead."""
        try:
            with _cluster_is_there():
                told: Told = self._ray.get(self._calls.popleft())
        except self._ray.exceptions.RayError as error:
            return _of_error(error)
        if told.kind == "part":
            self._calls.append(self._actor.go_on.remote())
        self.since = None
        return told

    def kill(self) -> None:
        """End the actor; one that is dead stays so, and one whose cluster is gone ends with it."""
        with suppress(ConnectionError):
            self._ray.kill(self._actor)


def _of_error(error: Exception) -> Told:
    """Return what Ray's error says about an actor."""
    if getattr(error, "actor_init_failed", False) or "creation task" in str(error):
        return Told(
            "failed",
            UserError(
                f"A worker of the Ray cluster could not begin: {_last_line(error)}",
                hint="Every machine of the cluster needs the same release of palimpsest as this "
                "one.",
            ),
        )
    with_machine = re.search(r"node (has died|was terminated)|preempted", str(error)) is not None
    return Told("dead", Death(f"its actor died: {_last_line(error)}", with_machine))


def _last_line(error: Exception) -> str:
    """Return the line of a traceback that says what went wrong, without colours."""
    return re.sub(r"\x1b\[\d*m", "", str(error)).strip().rpartition("\n")[2].strip().rstrip(".")


class ActorStaff(Staff):
    """Actors of a Ray cluster.

    A worker that needs several GPUs has a placement group of its own, so that they are on one
    machine, and kept for the worker that takes its place.

    Args:
        ray: The module.
        start: Makes a worker's hand.
        n_workers: How many; by default one a GPU, or as many as a model's share of them allows,
            and one a core where there are none.

    Raises:
        UserError: The cluster has no core for a worker.
    """

    is_here = False

    def __init__(self, ray: Any, start: Start, n_workers: int | None = None) -> None:
        self._ray = ray
        self._start = start
        resources = ray.cluster_resources()
        if resources.get("CPU", 0) < 1:
            raise UserError(
                "The Ray cluster has no core for a worker; each takes one.",
                hint="Add a machine, with: ray start --address=HEAD:6379",
            )
        self._is_default = n_workers is None
        self.n_workers = n_workers or int(resources.get("GPU", 0) or resources["CPU"])
        self._groups: dict[int, Any] = {}
        self._has_told = False
        self._n_gpus = share_of_gpus(self.n_workers, self._gpus_of_machines())

    def need(self, n_gpus: int) -> None:
        """Give each worker so many GPUs of one machine."""
        of_machines = self._gpus_of_machines()
        most = max(of_machines, default=0)
        if n_gpus > most:
            raise UserError(
                f"The model needs {n_gpus} GPUs on one machine, and no machine of the Ray cluster "
                f"has more than {most:g}.",
                hint=f"Lower tensor_parallel_size to {most:g}, choose a smaller dtype, or add a "
                "machine."
                if most
                else "Add a machine with GPUs, or leave out tensor_parallel_size.",
            )
        self.close()
        self._n_gpus = n_gpus
        if self._is_default:
            self.n_workers = min(self.n_workers, sum(n // n_gpus for n in of_machines))

    def hire(self, place: int) -> Worker:
        """Ask the cluster for an actor."""
        options = {"num_cpus": 1, "num_gpus": self._n_gpus}
        with _cluster_is_there():
            if self._n_gpus > 1:
                options["scheduling_strategy"] = self._kept_for(place)
            return _Actor(self._ray, self._ray.remote(**options)(_Desk), self._start)

    def listen(self, workers: Sequence[Worker], *, wait: bool) -> list[tuple[Worker, Told]]:
        """Take what the actors' calls have returned."""
        by_call = {worker.pending: worker for worker in workers if isinstance(worker, _Actor)}
        ready: list[Any] = []
        with _cluster_is_there():
            while not ready:
                self._tell_of_those_without_a_place(list(by_call.values()))
                seconds = _PLACE_SECONDS if wait else 0
                ready, _ = self._ray.wait(list(by_call), num_returns=1, timeout=seconds)
                if not wait:
                    break
        return [(by_call[call], by_call[call].hear()) for call in ready]

    def close(self) -> None:
        """Give the placement groups back."""
        with suppress(ConnectionError):
            for group in self._groups.values():
                self._ray.util.remove_placement_group(group)
        self._groups.clear()

    def _tell_of_those_without_a_place(self, workers: Sequence[_Actor]) -> None:
        """Say once that workers have been waiting; a cluster may grow, so that it is no error."""
        latest = time.monotonic() - _PLACE_SECONDS
        n_waiting = sum(each.since is not None and each.since <= latest for each in workers)
        if self._has_told or not n_waiting:
            return
        self._has_told = True
        free = self._ray.available_resources()
        _LOG.warning(
            "%d of %d workers have not begun after %.0f s. Each takes 1 core and %g GPUs of the "
            "Ray cluster, which has %g cores and %g GPUs free. They are waited for%s; see: ray "
            "status",
            n_waiting,
            self.n_workers,
            _PLACE_SECONDS,
            self._n_gpus,
            free.get("CPU", 0),
            free.get("GPU", 0),
            "" if n_waiting == self.n_workers else ", and the others work meanwhile",
        )

    def _kept_for(self, place: int) -> Any:
        """Return the strategy that puts an actor where the GPUs of its place are."""
        strategy = self._ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
        if place not in self._groups:
            bundle = {"CPU": 1, "GPU": self._n_gpus}
            self._groups[place] = self._ray.util.placement_group([bundle], strategy="STRICT_PACK")
        return strategy(self._groups[place], placement_group_bundle_index=0)

    def _gpus_of_machines(self) -> list[int]:
        alive = (node["Resources"] for node in self._ray.nodes() if node["Alive"])
        return [int(each.get("GPU", 0)) for each in alive]


def share_of_gpus(n_workers: int, of_machines: Sequence[int]) -> float:
    """Return how many GPUs each worker can have, all of them on one machine.

    That is as many as all can have at once; where there are fewer GPUs than workers, a part of one.

    Args:
        n_workers: How many there are to be.
        of_machines: How many GPUs each machine has.

    Example:
        >>> share_of_gpus(1, [2, 2]), share_of_gpus(2, [4, 2]), share_of_gpus(3, [1, 1])
        (2, 2, 0.5)
        >>> share_of_gpus(4, [])
        0
    """
    for n_each in range(max(of_machines, default=0), 0, -1):
        if sum(n // n_each for n in of_machines) >= n_workers:
            return n_each
    n_gpus = sum(of_machines)
    return 1 / -(-n_workers // n_gpus) if n_gpus else 0
