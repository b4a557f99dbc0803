"""``palimpsest report``: write a run's report anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="A run folder that `diagnose` has written.")],
) -> None:
    """Write report, tables and figures of a finished run anew.

    \b
    palimpsest report palimpsest-demo
    palimpsest report runs/2026-11-20

    The figures come from results.json and the answers from answers.sqlite; no model is asked. Then
    open report.html in the folder.
    """
    from palimpsest.judging import rewrite_report

    typer.echo(f"Report: {rewrite_report(folder)}")
