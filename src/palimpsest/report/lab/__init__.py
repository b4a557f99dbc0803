"""The report of a run of the laboratory."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.report.lab.figures import FIGURES
    from palimpsest.report.lab.findings import with_findings
    from palimpsest.report.lab.page import csv_tables, render_lab_page
    from palimpsest.report.lab.sweep import growth_drawing, sweep_drawing

__all__ = [
    "FIGURES", "csv_tables", "growth_drawing", "render_lab_page", "sweep_drawing", "with_findings",
]  # fmt: skip

lazy_face(globals())
