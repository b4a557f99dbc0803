"""Puts the report and the files beside it into a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from palimpsest.records.run_folder import RunFolder
from palimpsest.report.diagnosis.html import render_page
from palimpsest.report.diagnosis.latex import latex_table
from palimpsest.report.diagnosis.plots import drawings
from palimpsest.report.diagnosis.prompt_data import prompt_data
from palimpsest.report.diagnosis.tables import csv_cells, csv_table, markdown_table
from palimpsest.report.figure import Drawing
from palimpsest.report.page import write_figure

if TYPE_CHECKING:
    from palimpsest.records.answers import AnswerRow
    from palimpsest.records.results import Results


def write_all(
    folder: Path,
    results: Results,
    rows: Sequence[AnswerRow],
    *,
    extra_figures: Sequence[Drawing],
) -> Path:
    """Do what :func:`palimpsest.report.write_report` says."""
    target = RunFolder(folder)
    figures = [write_figure(target, drawing) for drawing in (*drawings(results), *extra_figures)]
    target.write_text("table.csv", csv_table(results))
    target.write_text("table.md", markdown_table(results))
    target.write_text("table.tex", latex_table(results))
    target.write_text("cells.csv", csv_cells(results))
    data = prompt_data(
        rows,
        tells_abilities=results.suite.scoring == "abilities",
        from_logs=results.suite.from_logs,
    )
    return target.write_text("report.html", render_page(results, figures, data))
