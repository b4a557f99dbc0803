"""``palimpsest rescore``: judge the stored answers of a run by another scorer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from palimpsest.cli.options import Failing, Json, Quiet, exit_if_failed
from palimpsest.cli.terminal import command_line, show_results


def rescore(
    folder: Annotated[Path, typer.Argument(help="A run folder that `diagnose` has written.")],
    scorer: Annotated[
        str, typer.Option("--scorer", help="How to score; see: palimpsest list scorers")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Where results and report go; the folder itself to replace its own. By default "
            "FOLDER-SCORER, beside it.",
        ),
    ] = None,
    fail_on: Failing = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Judge the stored answers of a run by another scorer.

    \b
    palimpsest rescore palimpsest-out --scorer contains
    palimpsest rescore OUT --scorer contains --out OUT

    No model is asked. Answers that were ended early are counted.

    Next: ask for the whole of these, palimpsest diagnose … --whole all
    """
    from palimpsest.judging import rescore as judge_anew

    in_a_name = re.sub(r"[^\w.-]+", "-", scorer)
    target = folder.with_name(f"{folder.resolve().name}-{in_a_name}") if out is None else out
    results = judge_anew(folder, scorer, out=target, command=command_line())
    show_results(results, target, quiet=quiet, as_json=json)
    exit_if_failed(results, fail_on)
