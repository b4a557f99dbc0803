"""``palimpsest browse``: all answers of finished runs, at a local page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from palimpsest.errors import MissingExtraError


def browse(
    runs: Annotated[
        list[Path], typer.Argument(metavar="DIRS...", help="Run folders; two are compared.")
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for a free one.")] = 0,
) -> None:
    """Show every answer of a run at a page of this machine.

    \b
    palimpsest browse palimpsest-out
    palimpsest browse before after --port 8765

    The report has a sample of the prompts; here are all, a million too: filters, search, pages,
    and everything that was answered to one example side by side. Nothing is written, and nobody
    else can reach the page. Next: open the address that it prints. Ctrl-C stops it.
    """
    try:
        from palimpsest.browse import browse as show
    except ModuleNotFoundError as error:
        if error.name not in {"starlette", "uvicorn"}:
            raise
        raise MissingExtraError("HTTP servers", package=error.name, extra="serve") from error

    show(runs, port=port, announce=lambda url: typer.echo(f"Answers: {url}  (Ctrl-C stops it)"))
