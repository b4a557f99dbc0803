"""Writers of a run's report into its folder: page, figures and tables.

Importing this loads neither matplotlib nor the templates: a diagnosis does so at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from palimpsest.errors import UserError
from palimpsest.records import RunFolder

if TYPE_CHECKING:
    from palimpsest.records import (
        AnswerRow,
        EvaluationPlan,
        History,
        LabResults,
        Restoration,
        Results,
        Trace,
    )
    from palimpsest.report.figure import Drawing


def write_report(
    folder: Path,
    results: Results,
    rows: Sequence[AnswerRow],
    *,
    extra_figures: Sequence[Drawing] = (),
    page_megabytes: float | None = None,
) -> Path:
    """Write the report of a diagnosis and everything beside it, and return the path of the page.

    Writes ``report.html``, ``table.csv``, ``table.md``, ``table.tex``, ``cells.csv`` and, for each
    figure, ``figures/NAME.png`` and ``figures/NAME.svg``. A file is replaced at once or not at
    all. The same arguments give the same bytes.

    Args:
        folder: Made if it does not exist.
        results: What the diagnosis says.
        rows: The answers behind it, for the browser of single prompts.
        extra_figures: Shown after the report's own.
        page_megabytes: How much of single prompts the page has at most; figures and tables are of
            all answers, whatever that is. By default so much that the page stays below 5 MB.

    Raises:
        UserError: The folder cannot be written, or the disk is full.
    """
    from palimpsest.report.diagnosis import (
        FIGURES,
        MAX_BYTES,
        csv_cells,
        csv_table,
        latex_table,
        markdown_table,
        prompt_data,
        render_page,
        suspects,
    )
    from palimpsest.report.page import write_figure

    target = RunFolder(folder)
    drawings = [*FIGURES.drawings(results), *extra_figures]
    figures = [write_figure(target, drawing) for drawing in drawings]
    target.write_text("table.csv", csv_table(results))
    target.write_text("table.md", markdown_table(results))
    target.write_text("table.tex", latex_table(results))
    target.write_text("cells.csv", csv_cells(results))
    data = prompt_data(
        rows,
        tells_abilities=results.suite.scoring == "abilities",
        from_logs=results.suite.from_logs,
        max_bytes=MAX_BYTES if page_megabytes is None else int(page_megabytes * 1e6),
        seed=results.provenance.seed,
    )
    page = render_page(results, figures, data, rows, suspects(results, rows))
    return target.write_text("report.html", page)


def write_lab_report(folder: Path, results: LabResults) -> Path:
    """Write the report of a laboratory run and everything beside it; return the page's path.

    Writes ``report.html``, ``conjugations.csv``, ``tuning.csv``, ``by_exemplars.csv``,
    ``closeness.csv``, ``remedies.csv``, and each figure as ``figures/NAME.png`` and ``.svg``. The
    same results give the same bytes.

    Raises:
        UserError: The folder cannot be written, or the disk is full.
    """
    from palimpsest.report.lab import FIGURES, csv_tables, render_lab_page
    from palimpsest.report.page import write_figure

    target = RunFolder(folder)
    for name, text in csv_tables(results).items():
        target.write_text(f"{name}.csv", text)
    figures = [write_figure(target, drawing) for drawing in FIGURES.drawings(results)]
    return target.write_text("report.html", render_lab_page(results, figures))


def rewrite_lab_report(folder: RunFolder) -> Path:
    """Write the report of a finished laboratory run anew and return the page's path.

    Raises:
        UserError: The run has not finished, or its results have another schema.
    """
    from pydantic import ValidationError

    from palimpsest.records import LabResults

    again = "Run its command again: what was trained and measured is kept."
    if not folder.results.exists():
        raise UserError(f"The run in '{folder.path}' has no results.json yet.", hint=again)
    try:
        results = LabResults.model_validate_json(folder.results.read_bytes())
    except ValidationError as error:
        raise UserError(
            f"'{folder.results}' does not follow the schema of this version.", hint=again
        ) from error
    return write_lab_report(folder.path, results)


def write_restoration(folder: Path, found: Restoration) -> Path:
    """Write the report of a restoration and everything beside it; return the page's path.

    Writes ``restore.html``, ``restore.csv``, ``restore-cells.csv``, and each figure as
    ``figures/NAME.png`` and ``.svg``. The same record gives the same bytes.

    Raises:
        UserError: The folder cannot be written, or the disk is full.
    """
    from palimpsest.report.families import (
        RESTORATION_FIGURES,
        csv_front,
        csv_front_cells,
        render_restoration,
    )
    from palimpsest.report.page import write_figure

    target = RunFolder(folder)
    target.write_text("restore.csv", csv_front(found))
    target.write_text("restore-cells.csv", csv_front_cells(found))
    figures = [write_figure(target, drawing) for drawing in RESTORATION_FIGURES.drawings(found)]
    return target.write_text("restore.html", render_restoration(found, figures))


def write_trace(folder: Path, found: Trace) -> Path:
    """Write the report of a trace and everything beside it; return the page's path.

    Writes ``trace.html``, ``trace.csv``, and each figure as ``figures/NAME.png`` and ``.svg``. The
    same record gives the same bytes.

    Raises:
        UserError: The folder cannot be written, or the disk is full.
    """
    from palimpsest.report.families import TRACE_FIGURES, csv_trace, render_trace
    from palimpsest.report.page import write_figure

    target = RunFolder(folder)
    target.write_text("trace.csv", csv_trace(found))
    figures = [write_figure(target, drawing) for drawing in TRACE_FIGURES.drawings(found)]
    return target.write_text("trace.html", render_trace(found, figures))


def write_history(folder: Path, found: History) -> Path:
    """Write the page of a history and everything beside it; return the page's path.

    Writes ``history.html``, ``history.json``, and each figure as ``figures/NAME.png`` and ``.svg``.
    The same history gives the same bytes.

    Raises:
        UserError: The folder is somebody else's, or cannot be written.
    """
    from palimpsest.report.history_page import HISTORY_FIGURES, render_history
    from palimpsest.report.page import write_figure

    is_new = not (folder / "run.json").exists()
    target = RunFolder.create(folder)
    if is_new:
        target.record({"command": "palimpsest history"})
    target.write_text("history.json", found.to_json() + "\n")
    figures = [write_figure(target, drawing) for drawing in HISTORY_FIGURES.drawings(found)]
    return target.write_text("history.html", render_history(found, figures))


def write_plan(folder: Path, found: EvaluationPlan, *, command: str) -> Path:
    """Write a plan into a folder and return the path of ``plan.json``.

    Writes ``plan.json``, ``plan.csv`` and the figure as ``figures/plan.png`` and ``.svg``. The
    folder may be that of a run, which stays as it is; else it is made, and marked so.

    Raises:
        UserError: The folder is somebody else's, or cannot be written.
    """
    from palimpsest.report.plan import csv_plan, plan_drawing

    is_new = not (folder / "run.json").exists()
    target = RunFolder.create(folder)
    if is_new:
        target.record({"command": command})
    target.write_text("plan.csv", csv_plan(found))
    plan_drawing(found).write(target)
    return target.write_text("plan.json", found.to_json() + "\n")
