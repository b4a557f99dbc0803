"""``palimpsest doctor``: whether a pair is what it claims to be, before it is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from palimpsest.cli.options import (
    BASE_HELP,
    EXIT_FORGOTTEN,
    BaseForm,
    Json,
    Suite,
    TunedForm,
    with_form,
)
from palimpsest.cli.terminal import json_text

if TYPE_CHECKING:
    from palimpsest.judging import Examination

EXIT_NO_VERDICT = EXIT_FORGOTTEN
"""No verdict on the pair should be trusted."""

_MARKS = {"fine": "ok", "note": "note", "no verdict": "STOP", "unknown": "?"}


def doctor(
    base: Annotated[str, typer.Argument(help=BASE_HELP)],
    tuned: Annotated[str, typer.Argument(help="The model after tuning.")],
    suite: Suite = None,
    base_form: BaseForm = None,
    tuned_form: TunedForm = None,
    json: Json = False,
) -> None:
    """Say whether a pair is what it claims to be, before it is judged.

    \b
    palimpsest doctor ./base ./tuned
    palimpsest doctor ./base hf:./base,adapter=./lora \\
        --suite jsonl:mine.jsonl --json

    Compared are architecture, tokenizer, chat template, end tokens and every weight; then each
    model is asked a few prompts. Exit code 3: no verdict on this pair should be trusted. Mend
    what it names. Then run `palimpsest diagnose`.
    """
    from palimpsest.judging import examine_pair

    found = examine_pair(with_form(base, base_form), with_form(tuned, tuned_form), suite=suite)
    if json:
        typer.echo(json_text(found.to_json()))
    else:
        _show(found)
    if not found.can_be_judged:
        raise typer.Exit(EXIT_NO_VERDICT)


def _show(found: Examination) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from palimpsest.report import visible

    table = Table("", "Looked at", "Found", "For a verdict", show_lines=True)
    for finding in found.findings:
        meaning = f"{finding.meaning[:1].upper()}{finding.meaning[1:]}"
        cells = (_MARKS[finding.severity], finding.check, finding.found, meaning)
        table.add_row(*(Text(visible(cell)) for cell in cells))
    Console().print(table)
    n_stops = sum(finding.severity == "no verdict" for finding in found.findings)
    if n_stops:
        typer.secho(f"No verdict on this pair should be trusted ({n_stops} × STOP).", bold=True)
    else:
        typer.secho("Nothing was found that forbids a verdict on this pair.", bold=True)
