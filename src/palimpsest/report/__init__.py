"""The reports of diagnoses and laboratory runs: pages, figures and tables. No science in here."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.report.figure import (
        BASE,
        BROKEN,
        INK,
        INTRUDED,
        MUTED,
        RIGHT,
        TUNED,
        Drawing,
        Sheet,
        name_rows,
    )
    from palimpsest.report.history import markdown_history
    from palimpsest.report.plan import plan_sentences, plan_table
    from palimpsest.report.terminal import FittedTable, TextColumn
    from palimpsest.report.text import (
        agreement_text,
        clipped,
        csv_text,
        duration,
        flips_and_noise,
        flips_text,
        floor_text,
        guessing_text,
        interval,
        noise_text,
        number,
        p_value,
        percent,
        percent_interval,
        relation,
        rounds_text,
        samples_text,
        visible,
    )
    from palimpsest.report.writing import (
        rewrite_lab_report,
        write_history,
        write_lab_report,
        write_plan,
        write_report,
        write_restoration,
        write_trace,
    )

__all__ = [
    "BASE", "BROKEN", "INK", "INTRUDED", "MUTED", "RIGHT", "TUNED", "Drawing", "FittedTable",
    "Sheet", "TextColumn", "agreement_text", "clipped", "csv_text", "duration", "flips_and_noise",
    "flips_text", "floor_text", "guessing_text", "interval", "markdown_history", "name_rows",
    "noise_text", "number", "p_value", "percent", "percent_interval", "plan_sentences",
    "plan_table", "relation", "rewrite_lab_report", "rounds_text", "samples_text", "visible",
    "write_history", "write_lab_report", "write_plan", "write_report", "write_restoration",
    "write_trace",
]  # fmt: skip

lazy_face(globals())
