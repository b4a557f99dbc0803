"""Options that several commands share, so that each means the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", "-o", help="The run folder; created when missing.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Use at most this many source examples a cell."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no table.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")]
Suite = Annotated[
    str,
    typer.Option("--suite", "-s", help="A suite with its options; see: palimpsest list suites"),
]
Via = Annotated[
    list[str] | None,
    typer.Option(
        "--via",
        help="A conjugation, repeatable: leet, fr, native:fr, 'leet|upper'. By default every "
        "other language of the suite, leet and pig-latin.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")]
