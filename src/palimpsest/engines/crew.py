"""Crews: workers that keep what they have loaded between pieces of work, and are replaced."""

from __future__ import annotations

import os
import socket
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from palimpsest.errors import UserError

Hand = Callable[[Any], Iterator[Any]]
"""What does pieces of work in a worker: one in, what comes of it out, part by part."""

Start = Callable[[], Hand]
"""Makes a worker's hand, once; a function of a module, so that other processes find it."""

_MOST_UNREAD = 1024
"""Events that are held for the caller; with more of them, workers wait until it has caught up."""

_N_FAILED_STARTS = 3
"""Workers that may end before they are ready, one after the other, until that is an error."""


class Seat(NamedTuple):
    """Where a worker is."""

    host: str
    pid: int

    @classmethod
    def here(cls) -> Seat:
        """Return that of this process."""
        return cls(socket.gethostname(), os.getpid())


class Death(NamedTuple):
    """Why a worker is no more."""

    why: str
    """As far as that is known."""
    with_machine: bool = False
    """Whether its machine went, which is no fault of the worker or of what it was doing."""


class Told(NamedTuple):
    """What a worker says, or what is found out about it."""

    kind: Literal["ready", "part", "done", "failed", "dead"]
    value: Any = None
    """Of ``ready`` its :class:`Seat`; the part; of ``failed`` the error; of ``dead`` a
    :class:`Death`."""


class Event(NamedTuple):
    """Something that came of a piece of work."""

    piece: int
    """The number that :meth:`Crew.submit` returned."""
    kind: Literal["part", "done", "lost"]
    """A part of what comes of it; the end; or that its worker died, and what came so far is all."""
    value: Any
    """The part, or the worker's :class:`Death`."""
    worker: int
    """Which place in the crew."""


class Worker(ABC):
    """One process or actor that does pieces of work, one at a time."""

    @abstractmethod
    def give(self, piece: Any) -> None:
        """Hand it the next piece; it is ready and idle. A dead one takes it and says so later."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once, whatever it does."""


class Staff(ABC):
    """Where workers come from."""

    n_workers: int
    is_here: bool
    """Whether all workers are on this machine."""

    @abstractmethod
    def need(self, n_gpus: int) -> None:
        """Give each worker that is hired from now on so many GPUs.

        Raises:
            UserError: There are not so many.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what is kept for workers; they have ended."""

    @abstractmethod
    def hire(self, place: int) -> Worker:
        """Return a new worker that is still getting ready; do not wait for it."""

    @abstractmethod
    def listen(self, workers: Sequence[Worker], *, wait: bool) -> list[tuple[Worker, Told]]:
        """Return what workers say; where they are waited for, one of them at least says something.

        What one says stands in its order; nothing comes after the end of a piece.
        """


class Place:
    """A place in a crew, and who fills it.

    Args:
        worker: Who does so first.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.seat: Seat | None = None
        """Where its worker is; ``None`` while that one gets ready."""
        self.piece: int | None = None
        """What its worker is doing."""
        self.host = ""
        """The machine of the last worker that was ready."""
        self.n_restarts = 0
        """How many workers have died in it."""
        self._busy_seconds = 0.0
        self._busy_since: float | None = None

    @property
    def busy_seconds(self) -> float:
        """How long its workers have been doing pieces, this moment's included."""
        if self._busy_since is None:
            return self._busy_seconds
        return self._busy_seconds + time.monotonic() - self._busy_since

    def begin(self, number: int, piece: Any) -> None:
        """Give its worker a piece."""
        self.piece, self._busy_since = number, time.monotonic()
        self.worker.give(piece)

    def end(self) -> None:
        """Note that its worker does nothing any more."""
        self._busy_seconds, self._busy_since = self.busy_seconds, None
        self.piece = None


class Crew:
    """Workers that are given pieces of work as they become idle.

    A worker that dies is replaced; the piece that it was doing is *lost*, which its owner is told,
    and may submit again what is missing of it.

    Args:
        staff: Where workers come from; they are hired with the first piece.
    """

    def __init__(self, staff: Staff) -> None:
        self._staff = staff
        self.places: list[Place] = []
        """None before the first piece."""
        self._waiting: deque[tuple[int, Any]] = deque()
        self._n_submitted = 0
        self._n_gpus = 0
        self._n_failed_starts = 0

    @property
    def n_workers(self) -> int:
        """How many workers there are, or will be."""
        return self._staff.n_workers

    @property
    def shares_memory(self) -> bool:
        """Whether several workers are on the machine of this process."""
        return self._staff.is_here and self._staff.n_workers > 1

    def need(self, n_gpus: int) -> None:
        """Give each worker at least so many GPUs; those that have fewer are replaced.

        Raises:
            UserError: There are not so many.
        """
        if n_gpus > self._n_gpus:
            self._n_gpus = n_gpus
            self._staff.need(n_gpus)
            for place in self.places:
                place.worker.kill()
            self.places.clear()

    def submit(self, piece: Any, *, next_one: bool = False) -> int:
        """Put a piece at the end of the queue, or at its front, and return its number."""
        add = self._waiting.appendleft if next_one else self._waiting.append
        add((self._n_submitted, piece))
        self._n_submitted += 1
        return self._n_submitted - 1

    def events(self) -> Iterator[Event]:
        """Yield what comes of the submitted pieces until none is left; more may be submitted.

        If the caller stops before, all pieces are forgotten, and busy workers replaced.

        Raises:
            UserError: One was raised in a worker, or workers end as soon as they begin.
            RuntimeError: A worker's work raised another exception; its traceback is the message.
        """
        while len(self.places) < self.n_workers:
            self.places.append(Place(self._staff.hire(len(self.places))))
        unread: deque[Event] = deque()
        try:
            while self._waiting or unread or any(place.piece is not None for place in self.places):
                failure = self._catch_up(unread) if len(unread) < _MOST_UNREAD else None
                if failure is not None:
                    yield from unread
                    raise failure
                if unread:
                    yield unread.popleft()
        finally:
            self._forget()

    def close(self) -> None:
        """End all workers."""
        self._waiting.clear()
        for place in self.places:
            place.worker.kill()
        self.places.clear()
        self._staff.close()

    def _deal(self) -> None:
        for place in self.places:
            if place.seat and place.piece is None and self._waiting:
                place.begin(*self._waiting.popleft())

    def _catch_up(self, unread: deque[Event]) -> Exception | None:
        """Add what workers say, give the idle ones new pieces, and return the first failure.

        It is called between any two events, so that no worker waits for what the caller does with
        the others' answers.
        """
        self._deal()
        places = [place for place in self.places if not place.seat or place.piece is not None]
        if not places:
            return None
        by_worker = {id(place.worker): place for place in places}
        failures: list[Exception] = []
        try:
            heard = self._staff.listen([place.worker for place in places], wait=not unread)
        except (UserError, RuntimeError) as error:
            return error
        for worker, told in heard:  # to the end: what is not heard now is never said again
            try:
                unread.extend(self._hear(by_worker[id(worker)], told))
            except (UserError, RuntimeError) as error:
                failures.append(error)
        if failures:
            return failures[0]
        self._deal()
        return None

    def _hear(self, place: Place, told: Told) -> Iterator[Event]:
        number = self.places.index(place)
        if told.kind == "ready":
            place.seat, self._n_failed_starts = told.value, 0
            place.host = told.value.host
        elif told.kind == "dead":
            lost = self._replace(place, told.value)
            if lost is not None:
                yield Event(lost, "lost", told.value, number)
        elif told.kind == "failed":
            place.end()
            if place.seat is None:
                self._refill(place)
            raise told.value
        else:
            assert place.piece is not None
            piece = place.piece
            if told.kind == "done":
                place.end()
            yield Event(piece, told.kind, told.value, number)

    def _replace(self, place: Place, death: Death) -> int | None:
        """Hire another worker for a place, and return which piece is lost, if any."""
        if place.seat is None and not death.with_machine:
            self._n_failed_starts += 1
            if self._n_failed_starts >= _N_FAILED_STARTS:
                raise UserError(
                    f"{_N_FAILED_STARTS} workers ended before they had begun: {death.why}.",
                    hint="Is there memory for so many? Try fewer with --workers, or --engine here.",
                )
        place.n_restarts += 1
        lost = place.piece
        self._refill(place)
        return lost

    def _refill(self, place: Place) -> None:
        place.worker.kill()
        place.end()
        place.seat = None
        place.worker = self._staff.hire(self.places.index(place))

    def _forget(self) -> None:
        self._waiting.clear()
        for place in self.places:
            if place.piece is not None:
                self._refill(place)


def said_of(hand: Hand, piece: Any) -> Iterator[Told]:
    """Yield what a worker says of a piece of work: its parts, and how it ended."""
    try:
        for part in hand(piece):
            yield Told("part", part)
    except UserError as error:
        # As a plain one: subclasses may not survive the way through another process.
        yield Told("failed", UserError(error.message, hint=error.hint))
    except Exception:
        yield Told("failed", RuntimeError(f"In a worker:\n{traceback.format_exc()}"))
    else:
        yield Told("done")
