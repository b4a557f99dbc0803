"""Answers of two models, matched by the source example that they answer."""

from __future__ import annotations

import itertools
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt

from palimpsest.judging.flags import flags_of, seen_answer
from palimpsest.records import (
    ATTEMPTED,
    AnswerRow,
    Outcome,
    answer_flag,
    columns_of,
    points,
    taken,
)

PLAIN = "identity"
"""The via of plain prompts in an answer row."""

ROLES = ("base", "tuned")
"""The roles of models in an answer row."""


_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_CODES = {outcome: code for code, outcome in enumerate(_OUTCOMES)}
_READ = (
    "source_id", "role", "via", "cell", "outcome", "score", "round_trip", "fidelity", "survival",
    "flags",
)  # fmt: skip
_N_LOOKED_AT = 2000
"""Answers that are in memory while they are looked at."""

_UNKNOWN = math.nan

Numbers = npt.NDArray[np.intp]
"""Of sources, or of answers; (n,)."""


class AnswerTable(Protocol):
    """What the analysis reads of answers by role, via and source example."""

    def paired(self, via: str) -> list[str]:
        """Return the sources to compare: both models answered them under a via; sorted."""

    def excluded(self, via: str) -> set[str]:
        """Return the sources that both answered, but whose prompt was too distorted to count."""

    def shared(self, via: str, sources: Sequence[str]) -> list[str]:
        """Return those of the sources that are to be compared under a via, in their order."""

    def n_excluded(self, via: str, sources: Sequence[str]) -> int:
        """Return how many of the sources :meth:`excluded` has."""

    def rows(self, role: str, via: str, sources: Sequence[str]) -> Sequence[AnswerRow]:
        """Return a model's answers to the sources; none where they have no text."""

    def outcomes(self, role: str, via: str, sources: Sequence[str]) -> list[Outcome]:
        """Return how a model's answers to the sources were scored."""

    def n_attempted(self, role: str, via: str, sources: Sequence[str]) -> int:
        """Return how many of a model's answers are intruded by their form alone."""

    def scores(self, role: str, via: str, sources: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return a score from 0 to 1 for each answer; 1 is right."""

    def flags(self, role: str, via: str, sources: Sequence[str]) -> dict[str, int]:
        """Return how many of a model's answers look like each thing that is worth a flag."""

    def mean_of(
        self,
        field: Literal["round_trip", "fidelity", "survival"],
        via: str,
        sources: Sequence[str],
    ) -> float | None:
        """Return the mean of a field over the prompts, where it is defined."""


class PairedAnswers:
    """Answers by role and via, then by source example: a column of numbers for what is known.

    No text is kept; whoever wants one reads the answer again.

    Args:
        rows: In any order; each model answers an example at most once under each via.
        min_fidelity: Prompts that come back from a via with a lower chrF, from 0 to 1, are not
            paired under it: neither model's answer to them is compared.

    Raises:
        ValueError: A model answered an example twice under one via.
    """

    def __init__(self, rows: Iterable[AnswerRow], *, min_fidelity: float = 0.0) -> None:
        self._rows: Sequence[AnswerRow] = rows if isinstance(rows, Sequence) else list(rows)
        self._min_fidelity = min_fidelity
        self._number: dict[str, int] = {}
        self._cells: dict[str, int] = {}
        self._of: dict[tuple[str, str], _Column] = {}
        self._fill()
        self._names = list(self._number)
        self._flags: dict[tuple[str, str], Numbers] = {}
        self._kinds: dict[tuple[str, ...], int] = {}
        self._sets: dict[str, _Sets] = {}

    def _fill(self) -> None:
        attempted = answer_flag(ATTEMPTED)
        for at, values in enumerate(columns_of(self._rows, *_READ)):
            source, role, via, cell, outcome, score, round_trip, fidelity, survival, flags = values
            number = self._number.setdefault(source, len(self._number))
            mine = self._of.get((role, via))
            if mine is None:
                mine = self._of[role, via] = _Column()
            mine.number.append(number)
            mine.position.append(at)
            mine.cell.append(self._cells.setdefault(cell, len(self._cells)))
            mine.outcome.append(_CODES[outcome])
            mine.score.append(points(outcome, score))
            mine.round_trip.append(_UNKNOWN if round_trip is None else round_trip)
            mine.fidelity.append(_UNKNOWN if fidelity is None else fidelity)
            mine.survival.append(_UNKNOWN if survival is None else survival)
            mine.attempted.append(bool(flags) and attempted in flags.split("; "))
        for (role, via), mine in self._of.items():
            twice = mine.index(len(self._number))
            if twice is not None:
                raise ValueError(
                    f"Two answers of the {role} model to '{list(self._number)[twice]}' under "
                    f"'{via}'; expected one."
                )

    def paired(self, via: str) -> list[str]:
        """Return the sources to compare: both models answered them under a via; sorted."""
        return sorted(self._names[number] for number in np.flatnonzero(self._sets_of(via).paired))

    def excluded(self, via: str) -> set[str]:
        """Return the sources that both answered, but whose prompt was too distorted to count."""
        return {self._names[number] for number in np.flatnonzero(self._sets_of(via).excluded)}

    def shared(self, via: str, sources: Sequence[str]) -> list[str]:
        """Return those of the sources that are to be compared under a via, in their order."""
        there = self._sets_of(via).paired[self._numbers(sources)].tolist()
        return list(itertools.compress(sources, there))

    def n_excluded(self, via: str, sources: Sequence[str]) -> int:
        """Return how many of the sources were too distorted to count."""
        return int(self._sets_of(via).excluded[self._numbers(sources)].sum())

    def _sets_of(self, via: str) -> _Sets:
        if via not in self._sets:
            nowhere = np.zeros(len(self._names), bool)
            mine = [self._of.get((role, via)) for role in ROLES]
            there = [nowhere if one is None else one.at >= 0 for one in mine]
            distorted = nowhere.copy()
            for one in mine:
                if one is not None:
                    bad = one.of("fidelity") < self._min_fidelity  # unknown ones are not
                    distorted[one.of("number")[bad]] = True
            both = there[0] & there[1]
            self._sets[via] = _Sets(both & ~distorted, both & distorted)
        return self._sets[via]

    def seen(self) -> set[str]:
        """Return every source with any answer."""
        return set(self._names)

    def _numbers(self, sources: Sequence[str]) -> Numbers:
        return np.fromiter(map(self._number.__getitem__, sources), np.intp, len(sources))

    def _found(
        self, role: str, via: str, sources: Sequence[str]
    ) -> tuple[_Column, npt.NDArray[np.int32]]:
        """Return the answers of a model under a via, and which of them are to the sources."""
        mine = self._of.get((role, via))
        mine = _Column.empty(len(self._names)) if mine is None else mine
        at = mine.at[self._numbers(sources)]
        if len(at) and at.min() < 0:
            raise KeyError(sources[int(at.argmin())])
        return mine, at

    def rows(self, role: str, via: str, sources: Sequence[str]) -> Sequence[AnswerRow]:
        """Return a model's answers to the sources, to be read once more."""
        mine, at = self._found(role, via, sources)
        return taken(self._rows, mine.of("position")[at])

    def outcomes(self, role: str, via: str, sources: Sequence[str]) -> list[Outcome]:
        """Return how a model's answers to the sources were scored."""
        mine, at = self._found(role, via, sources)
        return [_OUTCOMES[code] for code in mine.of("outcome")[at].tolist()]

    def scores(self, role: str, via: str, sources: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return a score from 0 to 1 for each answer; 1 is right."""
        mine, at = self._found(role, via, sources)
        found: npt.NDArray[np.float64] = mine.of("score")[at]
        return found

    def n_attempted(self, role: str, via: str, sources: Sequence[str]) -> int:
        """Return how many of a model's answers are intruded by their form alone."""
        mine, at = self._found(role, via, sources)
        return int(mine.of("attempted")[at].sum())

    def flags(self, role: str, via: str, sources: Sequence[str]) -> dict[str, int]:
        """Return how many of a model's answers look like each thing that is worth a flag."""
        if (role, via) not in self._flags:
            self._flags[role, via] = self._look(role, via)
        _, at = self._found(role, via, sources)
        codes, first, n = np.unique(
            self._flags[role, via][at], return_index=True, return_counts=True
        )
        kinds = list(self._kinds)
        counts: Counter[str] = Counter()
        for place in np.argsort(first).tolist():
            for flag in kinds[codes[place]]:
                counts[flag] += int(n[place])
        return dict(counts.most_common())

    def _look(self, role: str, via: str) -> Numbers:
        """Return which kinds of flags each answer has, of a model under a via."""
        mine, plain = self._of.get((role, via)), self._of.get((role, PLAIN))
        if mine is None:
            return np.zeros(0, np.intp)
        found = array("l")
        for first in range(0, len(mine.number), _N_LOOKED_AT):
            block = slice(first, first + _N_LOOKED_AT)
            rows = taken(self._rows, mine.of("position")[block])
            prompts: dict[str, str] = {}
            if plain is not None and plain is not mine:
                at = plain.at[mine.of("number")[block]]
                beside = taken(self._rows, plain.of("position")[at[at >= 0]])
                for source, prompt in columns_of(beside, "source_id", "prompt"):
                    prompts[source] = prompt
            for row in rows:
                own = {row.key.source_id: row.prompt} if plain is mine else prompts
                kinds = flags_of(seen_answer(row, own))
                found.append(self._kinds.setdefault(kinds, len(self._kinds)))
        return np.array(found, np.intp)

    def by_cell(self, sources: Sequence[str], order: Sequence[str]) -> dict[str, list[str]]:
        """Return the sources of each cell, as the plain prompts have it."""
        mine, at = self._found("base", PLAIN, sources)
        listed = list(self._cells)
        cells = [listed[code] for code in mine.of("cell")[at].tolist()]
        names = sorted(set(cells))
        ordered = [name for name in dict.fromkeys(order) if name in set(names)]
        groups: dict[str, list[str]] = {name: [] for name in [*ordered, *names]}
        for source, cell in zip(sources, cells, strict=True):
            groups[cell].append(source)
        return groups

    def mean_of(
        self,
        field: Literal["round_trip", "fidelity", "survival"],
        via: str,
        sources: Sequence[str],
    ) -> float | None:
        """Return the mean of a field over the prompts, where it is defined."""
        mine, at = self._found("base", via, sources)
        known = mine.of(field)[at]
        known = known[~np.isnan(known)]
        return math.fsum(known.tolist()) / len(known) if len(known) else None


class _Sets(NamedTuple):
    """Which sources are compared under a via, and which are not as their prompts came out badly."""

    paired: npt.NDArray[np.bool_]
    excluded: npt.NDArray[np.bool_]


class _Column:
    """What is known of the answers of one model under one via, in the order in which they came."""

    def __init__(self) -> None:
        self.number = array("i")
        self.position = array("q")
        self.cell = array("i")
        self.outcome = array("b")
        self.score = array("d")
        self.round_trip = array("f")
        self.fidelity = array("d")
        self.survival = array("d")
        self.attempted = array("b")
        self.at: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        """Of each source, by its number: where its answer is among these, or −1."""

    @classmethod
    def empty(cls, n_sources: int) -> _Column:
        """Return a column without answers."""
        column = cls()
        column.index(n_sources)
        return column

    def of(self, name: str) -> npt.NDArray[Any]:
        """Return a column as an array that shares its memory."""
        values: array[Any] = getattr(self, name)
        return np.frombuffer(values, values.typecode) if values else np.zeros(0, values.typecode)

    def index(self, n_sources: int) -> int | None:
        """Note where the answers to all sources are; return a source with two, if there is one."""
        self.at = np.full(n_sources, -1, np.int32)
        numbers = self.of("number")
        self.at[numbers] = np.arange(len(numbers), dtype=np.int32)
        second = np.flatnonzero(self.at[numbers] != np.arange(len(numbers)))
        return int(numbers[second[0]]) if len(second) else None
