"""The report of a diagnosis: one HTML page, figures and tables. No science in here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palimpsest.records.answers import AnswerRow
    from palimpsest.records.results import Results
    from palimpsest.report.figure import Drawing


def write_report(
    folder: Path,
    results: Results,
    rows: Sequence[AnswerRow],
    *,
    extra_figures: Sequence[Drawing] = (),
) -> Path:
    """Write the report and everything beside it, and return the path of the page.

    Writes ``report.html``, ``table.csv``, ``table.md``, ``table.tex``, ``cells.csv`` and, for each
    figure, ``figures/NAME.png`` and ``figures/NAME.svg``. A file is replaced at once or not at
    all. The same arguments give the same bytes.

    Args:
        folder: Made if it does not exist.
        results: What the diagnosis says.
        rows: The answers behind it, for the browser of single prompts.
        extra_figures: Shown after the report's own.

    Raises:
        UserError: The folder cannot be written, or the disk is full.
    """
    from palimpsest.report.diagnosis.writing import write_all

    return write_all(folder, results, rows, extra_figures=extra_figures)
