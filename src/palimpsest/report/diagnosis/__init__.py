"""The report of a diagnosis: figures, tables, and one HTML page."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.report.diagnosis.explained_answers import suspects
    from palimpsest.report.diagnosis.figures import FIGURES
    from palimpsest.report.diagnosis.page import render_page
    from palimpsest.report.diagnosis.prompts import MAX_BYTES, prompt_data
    from palimpsest.report.diagnosis.tables import (
        TerminalTable,
        csv_cells,
        csv_table,
        latex_table,
        markdown_table,
    )

__all__ = [
    "FIGURES", "MAX_BYTES", "TerminalTable", "csv_cells", "csv_table", "latex_table",
    "markdown_table", "prompt_data", "render_page", "suspects",
]  # fmt: skip

lazy_face(globals())
