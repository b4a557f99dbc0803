"""``palimpsest list``: what can be named on the command line."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Kind(StrEnum):
    """What to list."""

    suites = "suites"
    conjugations = "conjugations"
    models = "models"


def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List the suites, conjugations or model back ends, plugins included.

    \b
    palimpsest list suites
    palimpsest list conjugations

    A suite's languages are conjugations too: `--via fr` asks its French prompts.
    """
    from palimpsest.cli.listing import describe

    for name, description in describe(kind.value):
        typer.echo(f"{name:18}{description}")
