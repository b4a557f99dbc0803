"""The reports of families: a training checkpoint by checkpoint, and the front of a restoration."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.report.families.front_figures import RESTORATION_FIGURES
    from palimpsest.report.families.front_page import render_restoration
    from palimpsest.report.families.front_tables import FrontTable, csv_front, csv_front_cells
    from palimpsest.report.families.trace_figures import TRACE_FIGURES
    from palimpsest.report.families.trace_page import TraceTable, csv_trace, render_trace

__all__ = [
    "RESTORATION_FIGURES", "TRACE_FIGURES", "FrontTable", "TraceTable", "csv_front",
    "csv_front_cells", "csv_trace", "render_restoration", "render_trace",
]  # fmt: skip

lazy_face(globals())
