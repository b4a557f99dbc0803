"""``palimpsest report``: write a run's report anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[
        Path, typer.Argument(help="A run folder that `diagnose` or `lab run` has written.")
    ],
) -> None:
    """Write report, tables and figures of a finished run anew.

    \b
    palimpsest report palimpsest-demo
    palimpsest report runs/2026-11-20

    The figures come from results.json and the answers from answers.sqlite; no model is asked. Then
    open report.html in the folder.
    """
    from palimpsest.judging import rewrite_report
    from palimpsest.records import RunFolder
    from palimpsest.report import rewrite_lab_report

    run = RunFolder.find(folder)
    page = rewrite_lab_report(run) if "lab" in run.config else rewrite_report(folder)
    typer.echo(f"Report: {page}")
