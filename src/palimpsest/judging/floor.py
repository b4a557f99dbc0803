"""Floor of a cell: what the base model cannot do either is asked of nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from palimpsest.lm.suites import Example, Suite
from palimpsest.records import THRESHOLDS, AnswerRow, FloorCell, columns_of
from palimpsest.stats import wilson_interval


def cells_at_floor(rows: Sequence[AnswerRow], suite: Suite) -> list[FloorCell]:
    """Return the cells in which nothing can be lost, by the base model's plain answers.

    The test is that of the verdicts (line 2 of the rule): the lower end of the interval of its
    accuracy is not above the floor, nor above guessing among choices. In a cell of too few
    examples for any verdict the floor is unknown, and it is not among these.
    """
    right: dict[str, list[bool]] = defaultdict(list)
    for cell, outcome in columns_of(rows, "cell", "outcome"):
        right[cell].append(outcome == "right")
    chances = _chances(suite.in_language(suite.source_language))
    found = [
        _floor(name, right[name], max(THRESHOLDS.ability_floor, chances[name]))
        for name in suite.cells
        if len(right[name]) >= THRESHOLDS.min_examples
    ]
    return [cell for cell in found if cell.ci95[0] <= cell.floor]


def _floor(name: str, right: Sequence[bool], floor: float) -> FloorCell:
    n, n_right = len(right), sum(right)
    return FloorCell(
        name=name, n=n, accuracy=n_right / n, ci95=wilson_interval(n_right, n), floor=floor
    )


def _chances(examples: Sequence[Example]) -> Mapping[str, float]:
    """Return how often drawing among the choices is right, by cell; nothing without choices."""
    of_cell: dict[str, list[float]] = defaultdict(list)
    for example in examples:
        of_cell[example.cell].append(1 / len(example.choices) if example.choices else 0.0)
    return {cell: sum(values) / len(values) for cell, values in of_cell.items()}


def without_cells(suite: Suite, cells: Collection[str]) -> Suite:
    """Return a suite without some of its cells."""
    kept = tuple(example for example in suite.examples if example.cell not in cells)
    return replace(suite, examples=kept)
