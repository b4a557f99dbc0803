"""Engine on a Ray cluster: one core for each piece of work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

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

    def close(self) -> None:
        """Leave the cluster, or end that of one's own."""
        self._ray.shutdown()


def _attempt_with_one_thread(work: Work, number: int, piece: tuple[Any, ...]) -> Done:
    import torch

    torch.set_num_threads(1)
    return attempt(work, number, piece)
