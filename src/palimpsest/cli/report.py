"""``palimpsest report``: write a run's report anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A run folder that `diagnose`, `trace`, `restore` or `lab run` has written."
        ),
    ],
    page_mb: Annotated[
        float | None,
        typer.Option(
            "--page-mb",
            min=0.1,
            max=500,
            help="Megabytes of single prompts on the page of a diagnosis; by default about 3.",
        ),
    ] = None,
) -> None:
    """Write the reports, tables and figures of a finished run anew.

    \b
    palimpsest report palimpsest-demo
    palimpsest report runs/2026-11-20 --page-mb 50

    The figures come from results.json, trace.json and restore.json, the answers from
    answers.sqlite; no model is asked. The page of a large run has a sample of its prompts; all
    are shown by: palimpsest browse DIR. Then open report.html in the folder.
    """
    from palimpsest.families import rewrite_family_reports
    from palimpsest.judging import rewrite_report
    from palimpsest.records import RunFolder
    from palimpsest.report import rewrite_lab_report

    run = RunFolder.find(folder)
    pages = rewrite_family_reports(run)
    if "lab" in run.config:
        pages.append(rewrite_lab_report(run))
    elif run.results.exists() or not pages:
        pages.append(rewrite_report(folder, page_megabytes=page_mb))
    for page in pages:
        typer.echo(f"Report: {page}")
