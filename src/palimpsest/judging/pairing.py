"""Answers of two models, matched by the source example that they answer."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from palimpsest.judging.flags import flags_of, seen_answer
from palimpsest.records import AnswerRow, Outcome

PLAIN = "identity"
"""The via of plain prompts in an answer row."""

ROLES = ("base", "tuned")
"""The roles of models in an answer row."""


def score_of(row: AnswerRow) -> float:
    """Return the score of an answer from 0 to 1; 1 is right."""
    return float(row.outcome == "right") if row.score is None else row.score


class AnswerTable(Protocol):
    """What the analysis reads of answers by role, via and source example."""

    def paired(self, via: str) -> list[str]:
        """Return the sources to compare: both models answered them under a via; sorted."""

    def excluded(self, via: str) -> set[str]:
        """Return the sources that both answered, but whose prompt was too distorted to count."""

    def rows(self, role: str, via: str, sources: Sequence[str]) -> list[AnswerRow]:
        """Return a model's answers to the sources; none where they have no text."""

    def outcomes(self, role: str, via: str, sources: Sequence[str]) -> list[Outcome]:
        """Return how a model's answers to the sources were scored."""

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
    """Answers by role and via, then by source example.

    Args:
        rows: In any order; each model answers an example at most once under each via.
        min_fidelity: Prompts that come back from a via with a lower chrF, from 0 to 1, are not
            paired under it: neither model's answer to them is compared.

    Raises:
        ValueError: A model answered an example twice under one via.
    """

    def __init__(self, rows: Iterable[AnswerRow], *, min_fidelity: float = 0.0) -> None:
        self._rows: defaultdict[tuple[str, str], dict[str, AnswerRow]] = defaultdict(dict)
        for row in rows:
            mine = self._rows[row.role, row.via]
            if row.key.source_id in mine:
                raise ValueError(
                    f"Two answers of the {row.role} model to '{row.key.source_id}' under "
                    f"'{row.via}'; expected one."
                )
            mine[row.key.source_id] = row
        self._min_fidelity = min_fidelity
        self._flags: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}

    def paired(self, via: str) -> list[str]:
        """Return the sources to compare: both models answered them under a via; sorted."""
        return sorted(self._answered(via) - self.excluded(via))

    def excluded(self, via: str) -> set[str]:
        """Return the sources that both answered, but whose prompt was too distorted to count."""
        rows = (self._rows[role, via] for role in ROLES)
        distorted = {
            source
            for mine in rows
            for source, row in mine.items()
            if row.fidelity is not None and row.fidelity < self._min_fidelity
        }
        return distorted & self._answered(via)

    def _answered(self, via: str) -> set[str]:
        return self._rows["base", via].keys() & self._rows["tuned", via].keys()

    def seen(self) -> set[str]:
        """Return every source with any answer."""
        return set().union(*self._rows.values())

    def rows(self, role: str, via: str, sources: Sequence[str]) -> list[AnswerRow]:
        """Return a model's answers to the sources."""
        mine = self._rows[role, via]
        return [mine[source] for source in sources]

    def outcomes(self, role: str, via: str, sources: Sequence[str]) -> list[Outcome]:
        """Return how a model's answers to the sources were scored."""
        return [row.outcome for row in self.rows(role, via, sources)]

    def scores(self, role: str, via: str, sources: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return a score from 0 to 1 for each answer; 1 is right."""
        rows = self.rows(role, via, sources)
        return np.array([score_of(row) for row in rows], dtype=np.float64)

    def flags(self, role: str, via: str, sources: Sequence[str]) -> dict[str, int]:
        """Return how many of a model's answers look like each thing that is worth a flag."""
        if (role, via) not in self._flags:
            plain = {source: row.prompt for source, row in self._rows[role, PLAIN].items()}
            self._flags[role, via] = {
                source: flags_of(seen_answer(row, plain))
                for source, row in self._rows[role, via].items()
            }
        mine = self._flags[role, via]
        return dict(Counter(flag for source in sources for flag in mine[source]).most_common())

    def by_cell(self, sources: Sequence[str], order: Sequence[str]) -> dict[str, list[str]]:
        """Return the sources of each cell, as the plain prompts have it."""
        cells = {source: self._rows["base", PLAIN][source].cell for source in sources}
        names = sorted(set(cells.values()))
        ordered = [name for name in dict.fromkeys(order) if name in names]
        groups: dict[str, list[str]] = {name: [] for name in [*ordered, *names]}
        for source in sources:
            groups[cells[source]].append(source)
        return groups

    def mean_of(
        self,
        field: Literal["round_trip", "fidelity", "survival"],
        via: str,
        sources: Sequence[str],
    ) -> float | None:
        """Return the mean of a field over the prompts, where it is defined."""
        known = [getattr(self._rows["base", via][source], field) for source in sources]
        values = [float(value) for value in known if value is not None]
        return math.fsum(values) / len(values) if values else None
