"""Wrong answers that are asked to their end although their score is settled: for whoever looks."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from heapq import nsmallest
from typing import Literal, NamedTuple

from palimpsest.files import digest
from palimpsest.judging.questions import Question
from palimpsest.judging.via import Via
from palimpsest.lm.suites import Example
from palimpsest.records import CUT, THRESHOLDS, AnswerKey, AnswerRow

Whole = Literal["none", "sample", "all"]
"""How many wrong answers are asked to their end."""


@lru_cache(maxsize=65536)
def sample_rank(source_id: str) -> str:
    """Return what orders the examples of a cell: a hash, so that neither place nor time matters.

    It has nothing to do with the one that halves the examples.
    """
    return digest(f"palimpsest whole {source_id}")


class AskedWhole:
    """Which wrong answers of an evaluation are asked to their end.

    In a sample these are the first of each cell under each way of asking if they are wrong, and,
    where some of them are right, whichever come next: the first intruded and the first broken
    answers. It depends on what the answers are, not on when they came. Answers that earlier
    versions ended early stay so.

    Args:
        ways: The ways of asking with their examples.
        whole: How many.
    """

    def __init__(self, ways: Sequence[tuple[Via, Sequence[Example]]], whole: Whole) -> None:
        self._whole = whole
        self._first: set[tuple[str, str]] = set()
        self._wrong: dict[tuple[str, str, str], list[_Wrong]] = defaultdict(list)
        if whole == "sample":
            chosen: dict[int, list[str]] = {}
            for via, examples in ways:
                sources = chosen.get(id(examples)) or _first_of_each_cell(examples)
                chosen[id(examples)] = sources
                self._first.update((via.fingerprint, source) for source in sources)

    def wanted(self, questions: Iterable[Question]) -> set[AnswerKey]:
        """Return the questions whose answers are asked to their end at once if they are wrong."""
        if self._whole == "none":
            return set()
        keys = (question.key for question in questions)
        if self._whole == "all":
            return set(keys)
        return {key for key in keys if (key.conjugation, key.source_id) in self._first}

    def see(self, place: tuple[int, int], cell: str, row: AnswerRow) -> None:
        """Take an answer, in any order; its place comes back if it was cut and is in the sample."""
        if self._whole != "sample" or row.outcome == "right":
            return
        mine = self._wrong[row.key.conjugation, cell, row.outcome]
        insort(mine, _Wrong(sample_rank(row.key.source_id), place, row.finish == CUT))
        del mine[THRESHOLDS.n_whole :]

    def to_ask_again(self) -> list[tuple[int, int]]:
        """Return the places of those answers of the sample that were cut."""
        wrong = [each for group in self._wrong.values() for each in group]
        return [each.place for each in sorted(wrong) if each.was_cut]


class _Wrong(NamedTuple):
    rank: str
    place: tuple[int, int]
    was_cut: bool


def _first_of_each_cell(examples: Sequence[Example]) -> list[str]:
    cells: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for example in examples:
        cells[example.cell].append((sample_rank(example.source_id), example.source_id))
    return [source for cell in cells.values() for _, source in nsmallest(THRESHOLDS.n_whole, cell)]
