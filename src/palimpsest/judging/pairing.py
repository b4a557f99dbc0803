"""Answers of two models, matched by the source example that they answer."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt

from palimpsest.judging.flags import flags_of, seen_answer
from palimpsest.records import (
    ATTEMPTED,
    AnswerRow,
    Outcome,
    answer_flag,
    blocks_of,
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

Numbers = npt.NDArray[np.intp]
"""Of sources, or of answers; (n,)."""

Integers = npt.NDArray[np.integer[Any]]
"""The same, of any width."""


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
        self._arms: dict[tuple[str, str], int] = {}
        """Numbers of roles and vias."""
        parts = [self._block([()] * len(_READ))]  # so that there is one, of nothing
        parts += map(self._block, blocks_of(self._rows, *_READ))
        self._all = _Columns.joined(parts)
        self._names = list(self._number)
        self._at = {name: self._places(number) for name, number in self._arms.items()}
        self._nowhere = np.full(len(self._names), -1, np.int64)
        self._kinds: dict[tuple[str, ...], int] = {}
        self._kind = np.full(len(self._all.number), -1, np.int32)
        """Of each answer that was looked at, which kinds of flags it has."""
        self._sets: dict[str, _Sets] = {}

    def _block(self, block: Sequence[Sequence[Any]]) -> _Columns:
        source, role, via, cell, outcome, score, round_trip, fidelity, survival, flags = block
        attempted = answer_flag(ATTEMPTED)
        return _Columns(
            number=_numbered(source, self._number),
            arm=_numbered(zip(role, via, strict=True), self._arms),
            cell=_numbered(cell, self._cells),
            outcome=np.array([_CODES[each] for each in outcome], np.int8),
            score=np.array(list(map(points, outcome, score)), np.float64),
            round_trip=np.array(round_trip, np.float32),  # None becomes not a number
            fidelity=np.array(fidelity, np.float64),
            survival=np.array(survival, np.float64),
            attempted=np.array(
                [bool(each) and attempted in each.split("; ") for each in flags], np.bool_
            ),
        )

    def _places(self, arm: int) -> npt.NDArray[np.int64]:
        """Return, of each source, where its answer in an arm is among all; −1 where there is none.

        Raises:
            ValueError: There are two.
        """
        mine = np.flatnonzero(self._all.arm == arm)
        numbers = self._all.number[mine]
        found = np.full(len(self._number), -1, np.int64)
        found[numbers] = mine
        second = np.flatnonzero(found[numbers] != mine)
        if len(second):
            role, via = list(self._arms)[arm]
            source = list(self._number)[int(numbers[second[0]])]
            raise ValueError(
                f"Two answers of the {role} model to '{source}' under '{via}'; expected one."
            )
        return found

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
            at = [self._at.get((role, via), self._nowhere) for role in ROLES]
            distorted = np.zeros(len(self._names), bool)
            for mine in at:
                there = np.flatnonzero(mine >= 0)
                bad = self._all.fidelity[mine[there]] < self._min_fidelity  # unknown ones are not
                distorted[there[bad]] = True
            both = (at[0] >= 0) & (at[1] >= 0)
            self._sets[via] = _Sets(both & ~distorted, both & distorted)
        return self._sets[via]

    def seen(self) -> set[str]:
        """Return every source with any answer."""
        return set(self._names)

    def _numbers(self, sources: Sequence[str]) -> Numbers:
        return np.fromiter(map(self._number.__getitem__, sources), np.intp, len(sources))

    def _found(self, role: str, via: str, sources: Sequence[str]) -> Numbers:
        """Return where the answers of a model under a via to the sources are among all."""
        at: Numbers = self._at.get((role, via), self._nowhere)[self._numbers(sources)]
        if len(at) and at.min() < 0:
            raise KeyError(sources[int(at.argmin())])
        return at

    def rows(self, role: str, via: str, sources: Sequence[str]) -> Sequence[AnswerRow]:
        """Return a model's answers to the sources, to be read once more."""
        return taken(self._rows, self._found(role, via, sources))

    def outcomes(self, role: str, via: str, sources: Sequence[str]) -> list[Outcome]:
        """Return how a model's answers to the sources were scored."""
        codes = self._all.outcome[self._found(role, via, sources)]
        return [_OUTCOMES[code] for code in codes.tolist()]

    def scores(self, role: str, via: str, sources: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return a score from 0 to 1 for each answer; 1 is right."""
        return self._all.score[self._found(role, via, sources)]

    def n_attempted(self, role: str, via: str, sources: Sequence[str]) -> int:
        """Return how many of a model's answers are intruded by their form alone."""
        return int(self._all.attempted[self._found(role, via, sources)].sum())

    def flags(self, role: str, via: str, sources: Sequence[str]) -> dict[str, int]:
        """Return how many of a model's answers look like each thing that is worth a flag."""
        at = self._found(role, via, sources)
        if (self._kind[at] < 0).any():
            self._look(role, via)
        codes, first, n = np.unique(self._kind[at], return_index=True, return_counts=True)
        kinds = list(self._kinds)
        counts: Counter[str] = Counter()
        for place in np.argsort(first).tolist():
            for flag in kinds[codes[place]]:
                counts[flag] += int(n[place])
        return dict(counts.most_common())

    def _look(self, role: str, via: str) -> None:
        """Note which kinds of flags each answer has, of a model under a via."""
        at = self._at[role, via]
        mine = np.sort(at[at >= 0])
        for first in range(0, len(mine), _N_LOOKED_AT):
            block = mine[first : first + _N_LOOKED_AT]
            plain = _PromptsBeside(self, role, self._all.number[block])
            looks = columns_of(taken(self._rows, block), *_Looked._fields)
            kinds = (flags_of(seen_answer(row, plain)) for row in map(_Looked._make, looks))
            self._kind[block] = _numbered(kinds, self._kinds)

    def plain_prompts(self, role: str, numbers: Integers) -> dict[str, str]:
        """Return a model's plain prompts by source, of those sources that have one."""
        at = self._at.get((role, PLAIN), self._nowhere)[numbers]
        beside = taken(self._rows, at[at >= 0])
        return dict(columns_of(beside, "source_id", "prompt"))  # type: ignore[arg-type]

    def by_cell(self, sources: Sequence[str], order: Sequence[str]) -> dict[str, list[str]]:
        """Return the sources of each cell, as the plain prompts have it."""
        codes = self._all.cell[self._found("base", PLAIN, sources)]
        listed = list(self._cells)
        cells = [listed[code] for code in codes.tolist()]
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
        values: npt.NDArray[np.floating[Any]] = getattr(self._all, field)
        known = values[self._found("base", via, sources)]
        known = known[~np.isnan(known)]
        return math.fsum(known.tolist()) / len(known) if len(known) else None


class _Sets(NamedTuple):
    """Which sources are compared under a via, and which are not as their prompts came out badly."""

    paired: npt.NDArray[np.bool_]
    excluded: npt.NDArray[np.bool_]


class _Looked(NamedTuple):
    """What is read of an answer for :class:`.Looks`."""

    source_id: str
    prompt: str
    raw: str
    answer: str
    right_answers: str
    finish: str
    language: str
    flags: str


class _PromptsBeside(Mapping[str, str]):
    """Plain prompts of some sources, read together when one of them is wanted."""

    def __init__(self, answers: PairedAnswers, role: str, numbers: Integers) -> None:
        self._read = partial(answers.plain_prompts, role, numbers)

    @cached_property
    def _prompts(self) -> dict[str, str]:
        return self._read()

    def __getitem__(self, source: str) -> str:
        return self._prompts[source]

    def __iter__(self) -> Iterator[str]:
        return iter(self._prompts)

    def __len__(self) -> int:
        return len(self._prompts)


class _Columns(NamedTuple):
    """What is known of all answers, in the order in which they came; (n,) each."""

    number: npt.NDArray[np.int32]
    """Of the source."""
    arm: npt.NDArray[np.int32]
    """Of role and via."""
    cell: npt.NDArray[np.int32]
    outcome: npt.NDArray[np.int8]
    score: npt.NDArray[np.float64]
    round_trip: npt.NDArray[np.float32]
    fidelity: npt.NDArray[np.float64]
    survival: npt.NDArray[np.float64]
    attempted: npt.NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: Sequence[_Columns]) -> _Columns:
        """Return the columns of all parts, one behind the other."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))


def _numbered(values: Iterable[Hashable], known: dict[Any, int]) -> npt.NDArray[np.int32]:
    """Return the numbers of values, new ones in the order in which they come."""
    return np.array([known.setdefault(value, len(known)) for value in values], np.int32)
