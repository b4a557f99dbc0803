"""The figures of a diagnosis: what each is called, how it is read, what it says in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from palimpsest.report.diagnosis import charts
from palimpsest.report.diagnosis.tables import Row, table_rows
from palimpsest.report.figure import Drawing
from palimpsest.report.text import (
    conjugation_label,
    percent,
    percent_interval,
    ratio,
    ratio_interval,
    visible,
)

if TYPE_CHECKING:
    from palimpsest.records.results import Arm, Cell, ConjugationResult, Results

MAX_PANELS = 12
"""More cells than this get no small multiples: nobody could read them."""

MAX_ROWS = 60
"""More cells than this get no figure at all."""


def drawings(results: Results) -> list[Drawing]:
    """Return the figures that these results allow, in the order of the report."""
    rows = table_rows(results.plain, results.conjugations)
    found = [accuracy_drawing(rows, chance=results.suite.chance)]
    if results.conjugations:
        found.append(recovery_drawing(results.conjugations))
    if results.suite.scoring == "abilities":
        found.append(outcomes_drawing(rows))
        if 1 < len(results.cells) <= MAX_PANELS:
            found.append(cells_drawing(results.cells))
    elif 1 < len(results.cells) <= MAX_ROWS:
        found.append(forgetting_drawing(results.cells))
    return found


def accuracy_drawing(rows: Sequence[Row], *, chance: float | None = None) -> Drawing:
    """Base against tuned accuracy for each way of asking, with intervals."""
    said = (
        f"{conjugation_label(row.name)}: base {percent(row.base.accuracy)} % "
        f"{percent_interval(row.base.ci95)}, tuned {percent(row.tuned.accuracy)} % "
        f"{percent_interval(row.tuned.ci95)}"
        for row in rows
    )
    guessing = "" if chance is None else f" Dashed line: guessing, {percent(chance)} %."
    title = "Accuracy of the base and the tuned model, by how they are asked"
    return Drawing(
        name="accuracy",
        title=title,
        caption="Bars are Wilson’s 95 % intervals. A conjugation that brings the ability back "
        "moves the tuned model’s mark towards the base model’s." + guessing,
        alternative=f"Accuracy. {'; '.join(said)}.{guessing}",
        draw=lambda width: charts.draw_accuracy(title, rows, width, chance=chance),
    )


def recovery_drawing(conjugations: Sequence[ConjugationResult]) -> Drawing:
    """Recovered share of the forgetting for each conjugation, with intervals."""
    said = (
        f"{conjugation_label(result.name)}: {ratio(result.recovery)} "
        f"{ratio_interval(result.recovery_ci95)}".rstrip()
        for result in conjugations
    )
    title = "Share of the forgetting that each conjugation recovers"
    return Drawing(
        name="recovery",
        title=title,
        caption="0: as forgotten as when asked plainly. 1: as good as the base model asked "
        "plainly. Bars are 95 % intervals (bootstrap over source examples); an arrow means that "
        "the interval goes on.",
        alternative=f"Recovery. {'; '.join(said)}.",
        draw=lambda width: charts.draw_recovery(title, conjugations, width),
    )


def forgetting_drawing(cells: Sequence[Cell]) -> Drawing:
    """Forgetting in each cell, with intervals."""
    said = (
        f"{visible(cell.name)}: {percent(cell.plain.forgetting)} "
        f"{percent_interval(cell.plain.forgetting_ci95)}"
        for cell in cells
    )
    title = "Forgetting in each task, both models asked plainly"
    return Drawing(
        name="forgetting",
        title=title,
        caption="Base minus tuned accuracy, in points, with 95 % intervals (bootstrap over items), "
        "not adjusted for the number of tasks. To the right of zero the tuned model is worse.",
        alternative=f"Forgetting. {'; '.join(said)}.",
        draw=lambda width: charts.draw_forgetting(title, cells, width),
    )


def outcomes_drawing(rows: Sequence[Row]) -> Drawing:
    """Right, intruded and broken shares of both models for each way of asking."""
    said = (
        f"{conjugation_label(row.name)}: base {_shares(row.base)}; tuned {_shares(row.tuned)}"
        for row in rows
    )
    title = "Shares of right, intruded and broken answers, by how the models are asked"
    return Drawing(
        name="outcomes",
        title=title,
        caption="Intruded answers belong to another ability than the one asked for; broken ones "
        "to none. Much intrusion points to suppression, much breakage to damage.",
        alternative=f"Outcomes. {'. '.join(said)}.",
        draw=lambda width: charts.draw_outcomes(title, rows, width),
    )


def cells_drawing(cells: Sequence[Cell]) -> Drawing:
    """The same shares for each cell, as small multiples."""
    said = (
        f"{visible(cell.name)}, asked plainly: base {_shares(cell.plain.base)}; "
        f"tuned {_shares(cell.plain.tuned)}"
        for cell in cells
    )
    title = "Shares of right, intruded and broken answers in each cell"
    return Drawing(
        name="cells",
        title=title,
        caption="Of each pair of bars the upper is the base model, the lower the tuned model.",
        alternative=f"Outcomes in each cell. {'. '.join(said)}.",
        draw=lambda width: charts.draw_cells(title, cells, width),
    )


def _shares(arm: Arm) -> str:
    return (
        f"{percent(arm.accuracy)} % right, {percent(arm.intruded)} % intruded, "
        f"{percent(arm.broken)} % broken"
    )
