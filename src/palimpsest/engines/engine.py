"""Engines: where work is done, in this process, in several, or on a cluster."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

from palimpsest.engines.crew import Crew, Start
from palimpsest.errors import UserError
from palimpsest.registry import Registry

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
    """Does pieces of work side by side, each with one thread.

    Args:
        workers: How many at a time; as many as there are usable cores if left out, of a crew as
            many as there are GPUs, if there are any.
        address: Of the machines, for an engine that has others than this one.

    Raises:
        UserError: An address for an engine that has none.
    """

    name: ClassVar[str] = ""
    """What it is called in records."""

    shares_disk: bool
    """Whether the work can keep its unfinished state in our folders."""

    def __init__(self, *, workers: int | None = None, address: str | None = None) -> None:
        if address is not None:
            raise UserError(
                f"The address '{address}' is for Ray.", hint="Add --engine ray, or leave it out."
            )
        self.workers = workers or n_cores()
        self._asked_for = workers

    @abstractmethod
    def map(self, work: Work, pieces: Sequence[tuple[Any, ...]]) -> Iterator[Done]:
        """Do ``work(*piece)`` for each piece and yield what came of it, the first finished first.

        Raises:
            KeyboardInterrupt: Ctrl-C, once every process has saved what it was doing.
        """

    def crew(self, start: Start, *, preload: Sequence[str] = ()) -> Crew | None:
        """Return workers that keep what they have loaded, such as a model, between pieces of work.

        ``None`` where work is done in this process, which keeps it anyway.

        Args:
            start: Called in each worker, for what does its work.
            preload: Modules that this needs, for an engine that can have them ready.

        Raises:
            UserError: The engine has none.
        """
        raise UserError(
            f"The engine '{type(self).__name__}' has no workers that keep a model loaded.",
            hint="Use --engine here, processes or ray.",
        )


ENGINES: Registry[type[Engine]] = Registry(
    "engine",
    {
        "processes": "palimpsest.engines.local:LocalEngine",
        "here": "palimpsest.engines.local:HereEngine",
        "local": "palimpsest.engines.local:LocalEngine",
        "ray": "palimpsest.engines.ray_cluster:RayEngine",
    },
)
"""Engines by name; built from ``workers`` and ``address``. ``local`` is an older name of
``processes``."""


def make_engine(name: str, *, workers: int | None = None, address: str | None = None) -> Engine:
    """Return the engine of a name.

    Raises:
        UserError: No such engine, or an address for one that has none.
        MissingExtraError: The package behind it is not installed.

    Example:
        >>> make_engine("locl")
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: No engine named 'locl'. Did you mean 'local'?
        List them with: palimpsest list engines
    """
    return ENGINES.get(name)(workers=workers, address=address)


def attempt(work: Work, number: int, piece: tuple[Any, ...]) -> Done:
    """Do one piece of work; a user's mistake is its result and ends no other."""
    try:
        return Done(number, work(*piece), "")
    except UserError as error:
        return Done(number, b"", str(error))


def n_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
