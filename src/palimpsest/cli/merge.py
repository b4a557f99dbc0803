"""``palimpsest merge``: the shards of a diagnosis put together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from palimpsest.cli.options import Failing, Json, Out, Quiet, exit_if_failed
from palimpsest.cli.terminal import command_line, show_results


def merge(
    shards: Annotated[
        list[Path], typer.Argument(metavar="DIRS...", help="The folders of all shards.")
    ],
    out: Out = Path("palimpsest-out"),
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Let the shards name scorers, suites and translators that run code or ask others, "
            "if they are yours.",
        ),
    ] = False,
    fail_on: Failing = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Put the shards of a diagnosis together, and conclude.

    \b
    palimpsest merge shard-*
    palimpsest merge shard-1 shard-2 --out whole

    Shards are made by `palimpsest diagnose BASE TUNED --shard i/n --out DIR`, each on a machine of
    its own, as in a SLURM array. No model is opened or asked any more, so neither weights nor a GPU
    are needed; suite and translators are. What comes out is what one run would have said.

    Then open report.html.
    """
    from palimpsest.judging import merge as merge_all

    results = merge_all(shards, out, trust=trust, command=command_line())
    show_results(results, out, quiet=quiet, as_json=json)
    exit_if_failed(results, fail_on)
