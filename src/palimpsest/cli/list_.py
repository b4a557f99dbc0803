"""``palimpsest list``: what can be named on the command line."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from palimpsest.registry import Registry

REGISTRIES = {
    "suites": "palimpsest.lm.suites.suite:SUITES",
    "conjugations": "palimpsest.lm.conjugations.specs:CONJUGATIONS",
    "models": "palimpsest.lm.models.specs:MODELS",
    "translators": "palimpsest.lm.translators.translator:TRANSLATORS",
    "scorers": "palimpsest.lm.scoring.scorers:SCORERS",
    "log-formats": "palimpsest.integrations.logs.formats:LOG_FORMATS",
    "distributions": "palimpsest.lab.problem.problem:DISTRIBUTIONS",
    "architectures": "palimpsest.lab.predictors.transformer:ARCHITECTURES",
    "remedies": "palimpsest.lab.training.remedies:REMEDIES",
    "engines": "palimpsest.engines.engine:ENGINES",
}
"""Kinds to ``"module:ATTRIBUTE"`` of their registries: a line for each that can be listed."""

ListedKind = StrEnum("ListedKind", list(REGISTRIES))  # type: ignore[misc]


def list_(kind: Annotated[ListedKind, typer.Argument(help="What to list.")]) -> None:
    """List the suites, conjugations and whatever else has a name, plugins included.

    \b
    palimpsest list suites
    palimpsest list conjugations

    A suite's languages are conjugations too: `--via fr` asks its French prompts.
    """
    module, _, attribute = REGISTRIES[kind].partition(":")
    registry: Registry[Any] = getattr(import_module(module), attribute)
    for entry, description in registry.describe():
        typer.echo(f"{entry:18}{description}")
