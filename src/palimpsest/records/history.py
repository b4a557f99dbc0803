"""The schema of ``history.json``: runs of successive trainings of one project, side by side.

Accuracies, falls and intervals are fractions, as in ``results.json``.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from palimpsest.records.results import Interval, Record, Verdict

HISTORY: Final = "palimpsest.history/1"


class HistoryFigures(Record):
    """What a run says of one cell, or of all of them."""

    verdict: Verdict
    n: int
    """Examples that both models answered plainly."""
    base: float
    """Accuracy of the base model."""
    tuned: float
    """Accuracy of the tuned model."""
    fall: float
    fall_ci95: Interval


class HistoryRun(Record):
    """One run."""

    folder: str
    created: str
    """ISO 8601, UTC."""
    tuned: str
    """Spec of the tuned model."""
    overall: HistoryFigures
    cells: dict[str, HistoryFigures]


class HistoryChange(Record):
    """The tuned models of two runs that follow each other, on the examples that both answered."""

    cell: str | None
    """Null for all cells together."""
    before: int
    """Place of the earlier run among the runs, from 0."""
    n: int
    """Examples."""
    accuracy_before: float
    accuracy_after: float
    n_lost: int
    """Right before and not after."""
    n_gained: int
    p_value: float
    """Exact McNemar test; of graded scores the paired randomisation test."""
    p_holm: float
    """Adjusted by Holm over all comparisons of the history."""
    is_clear: bool


class History(Record):
    """All runs, in the order given."""

    schema_: Literal["palimpsest.history/1"] = Field(default=HISTORY, alias="schema")
    suite: str
    runs: list[HistoryRun]
    changes: list[HistoryChange]

    def to_json(self) -> str:
        """Return the text of ``history.json``."""
        return self.model_dump_json(by_alias=True, indent=2)
