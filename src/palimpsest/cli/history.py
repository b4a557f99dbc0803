"""``palimpsest history``: runs of successive trainings side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from palimpsest.cli.options import EXIT_FORGOTTEN, Json


def history(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIRS...", help="Run folders on one suite, the earliest first."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write the JSON to this file, for CI to keep."),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", help="Write the summary to this file, for a comment."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", help="Write a page with figures into this folder."),
    ] = None,
    fail_on_worse: Annotated[
        bool,
        typer.Option(
            "--fail-on-worse",
            help="For CI, exit 3 if the newest run is clearly worse than the one before.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Say how verdicts and figures went over the runs of a project.

    \b
    palimpsest history runs/monday runs/tuesday --page history
    palimpsest history runs/* --markdown comment.md \\
        --out history.json

    Runs that follow each other are compared by their tuned models' answers to the same prompts; a
    change is clear by Holm over all comparisons. No model is asked.

    Next: docs/how-to/ci.md has it as a check for pull requests.
    """
    from palimpsest.judging import compare_runs
    from palimpsest.records import explained
    from palimpsest.report import markdown_history

    found = compare_runs(folders)
    for path, text in ((out, found.to_json() + "\n"), (markdown, markdown_history(found))):
        if path is not None:
            with explained(path):
                path.write_text(text, "utf-8")
    typer.echo(found.to_json() if json else markdown_history(found).rstrip("\n"))
    if page is not None:
        from palimpsest.report import write_history

        path = write_history(page, found)
        if not json:
            typer.echo(f"\nPage: {path}")
    newest = len(found.runs) - 2
    worse = (
        change
        for change in found.changes
        if change.before == newest and change.accuracy_after < change.accuracy_before
    )
    if fail_on_worse and any(change.is_clear for change in worse):
        raise typer.Exit(EXIT_FORGOTTEN)
