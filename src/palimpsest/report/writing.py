"""Puts the report and the files beside it into a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from palimpsest.records.run_folder import RunFolder
from palimpsest.report.drawing import (
    NARROW_INCHES,
    Drawing,
    figure_files,
    inline_svg,
    svg_bytes,
)
from palimpsest.report.html import PageFigure, render_page
from palimpsest.report.latex import latex_table
from palimpsest.report.plots import drawings
from palimpsest.report.prompt_data import prompt_data
from palimpsest.report.tables import csv_cells, csv_table, markdown_table

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
    figures = [_write_figure(target, drawing) for drawing in (*drawings(results), *extra_figures)]
    target.write_text("table.csv", csv_table(results))
    target.write_text("table.md", markdown_table(results))
    target.write_text("table.tex", latex_table(results))
    target.write_text("cells.csv", csv_cells(results))
    return target.write_text("report.html", render_page(results, figures, prompt_data(rows)))


def _write_figure(target: RunFolder, drawing: Drawing) -> PageFigure:
    files = figure_files(drawing)
    target.write_bytes(f"figures/{drawing.name}.svg", files.svg)
    target.write_bytes(f"figures/{drawing.name}.png", files.png)
    narrow = svg_bytes(drawing, width=NARROW_INCHES)
    said = drawing.alternative
    return PageFigure(
        drawing,
        wide=inline_svg(files.svg, prefix=f"{drawing.name}-wide-", label=said),
        narrow=inline_svg(narrow, prefix=f"{drawing.name}-narrow-", label=said),
    )
