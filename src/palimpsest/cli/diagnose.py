"""``palimpsest diagnose``: a base model against a tuned one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from palimpsest.cli.options import Json, Limit, Out, Quiet, Seed, Suite, Via

EXIT_FORGOTTEN = 3


class FailOn(StrEnum):
    """When the command counts as failed."""

    never = "never"
    forgotten = "forgotten"


def diagnose(
    base: Annotated[str, typer.Argument(help="The model before tuning: a folder, id or spec.")],
    tuned: Annotated[str, typer.Argument(help="The model after tuning.")],
    suite: Suite = "icl-vs-if",
    sentences: Annotated[
        Path | None,
        typer.Option(
            "--sentences",
            help="For icl-vs-if: your own sentences, one file a language (en.txt, …).",
        ),
    ] = None,
    via: Via = None,
    out: Out = Path("palimpsest-out"),
    limit: Limit = None,
    seed: Seed = 0,
    fail_on: Annotated[
        FailOn,
        typer.Option("--fail-on", help="Exit 3 if an ability is lost or suppressed (for CI)."),
    ] = FailOn.never,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Say which abilities the tuned model kept, suppressed or lost.

    \b
    palimpsest diagnose ./base ./tuned
    palimpsest diagnose ./base hf:./base,adapter=./lora --suite jsonl:mine.jsonl --via leet --via fr

    Interrupt it whenever you like: the same command continues. Then open report.html.
    """
    from palimpsest.cli.running import diagnose_and_show

    results = diagnose_and_show(
        base,
        tuned,
        suite=suite if sentences is None else f"{suite},sentences={sentences}",
        via=via,
        out=out,
        limit=limit,
        seed=seed,
        quiet=quiet,
        as_json=json,
    )
    verdicts = {results.verdict, *(cell.verdict for cell in results.cells)}
    if fail_on is FailOn.forgotten and verdicts & {"suppressed", "lost"}:
        raise typer.Exit(EXIT_FORGOTTEN)
