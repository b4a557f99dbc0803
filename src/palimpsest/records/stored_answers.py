"""Answers that lie in a store, read a few at a time: a run of any size takes little memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from palimpsest.records.answers import AnswerKey, AnswerRow

if TYPE_CHECKING:
    from palimpsest.records.store import AnswerStore

Places = npt.NDArray[np.int64]
"""Where answers are in a store; (n,)."""

_N_READ = 2000
"""Answers that are read at a time."""


class StoredAnswers(Sequence[AnswerRow]):
    """Answers in a store, in some order and in roles: some bytes each, whatever their texts.

    They are read from the file whenever they are looked at, so the store has to be open, and each
    shows what the file says by then. Get them with :meth:`AnswerStore.answers_at` or
    :meth:`AnswerStore.run_answers`.

    Args:
        store: Where they are.
        places: Of each answer; int64, (n,).
        roles: The place of its role among the names; uint8, (n,).
        names: Of roles.
    """

    def __init__(
        self, store: AnswerStore, places: Places, roles: npt.NDArray[np.uint8], names: Sequence[str]
    ) -> None:
        self._store = store
        self._places = places.astype(np.int64, copy=False)
        self._roles = roles.astype(np.uint8, copy=False)
        self._names = tuple(names)

    def are_in(self, store: AnswerStore) -> bool:
        """Return whether this is the store that they are in."""
        return self._store is store

    @property
    def places(self) -> Places:
        """Where they are in the store; (n,)."""
        return self._places

    def places_and_roles(self) -> Iterator[tuple[int, str]]:
        """Yield the place and the role of each."""
        for first in range(0, len(self), _N_READ):
            mine = slice(first, first + _N_READ)
            roles = (self._names[code] for code in self._roles[mine].tolist())
            yield from zip(self._places[mine].tolist(), roles, strict=True)

    def blocks(self, *names: str) -> Iterator[list[Sequence[Any]]]:
        """Yield a list for each column, of some thousand answers at a time.

        Args:
            names: Of columns of :class:`.AnswerKey` or :class:`.AnswerRow`.
        """
        stored = [name for name in names if name != "role"]  # for which no file is needed
        for first in range(0, len(self), _N_READ):
            mine = slice(first, first + _N_READ)
            found = iter(self._store.columns_at(self._places[mine], stored) if stored else ())
            roles = [self._names[code] for code in self._roles[mine].tolist()]
            yield [roles if name == "role" else next(found) for name in names]

    def take(self, at: npt.NDArray[Any]) -> StoredAnswers:
        """Return those at some positions, or where a mask says so."""
        return StoredAnswers(self._store, self._places[at], self._roles[at], self._names)

    def and_then(self, others: StoredAnswers) -> StoredAnswers:
        """Return these, followed by others of the same store."""
        names = tuple(dict.fromkeys((*self._names, *others._names)))
        codes = np.array([names.index(name) for name in others._names], np.uint8)
        return StoredAnswers(
            self._store,
            np.concatenate([self._places, others._places]),
            np.concatenate([self._roles, codes[others._roles]]),
            names,
        )

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> AnswerRow: ...

    @overload
    def __getitem__(self, at: slice) -> StoredAnswers: ...

    def __getitem__(self, at: int | slice) -> AnswerRow | StoredAnswers:
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        [row] = self._store.at([int(self._places[at])])
        return row._replace(role=self._names[self._roles[at]])

    def __iter__(self) -> Iterator[AnswerRow]:
        return map(AnswerRow.of, columns_of(self, *AnswerKey._fields, *AnswerRow._fields[1:]))


def columns_of(rows: Iterable[AnswerRow], *names: str) -> Iterator[Sequence[Any]]:
    """Yield some columns of each answer; of stored ones, nothing else is read.

    Args:
        rows: Answers.
        names: Of columns of :class:`.AnswerKey` or :class:`.AnswerRow`.
    """
    for block in blocks_of(rows, *names):
        yield from zip(*block, strict=True)


def blocks_of(rows: Iterable[AnswerRow], *names: str) -> Iterator[list[Sequence[Any]]]:
    """Yield a list for each column, as :func:`columns_of`, of many answers at a time."""
    if isinstance(rows, StoredAnswers):
        yield from rows.blocks(*names)
        return
    rows = rows if isinstance(rows, Sequence) else list(rows)
    getters = [attrgetter(f"key.{name}" if name in AnswerKey._fields else name) for name in names]
    yield [list(map(get, rows)) for get in getters]


def taken(rows: Sequence[AnswerRow], at: npt.NDArray[np.intp]) -> Sequence[AnswerRow]:
    """Return the answers at some positions, as many as there are positions."""
    if isinstance(rows, StoredAnswers):
        return rows.take(at)
    return [rows[place] for place in at.tolist()]
