"""``palimpsest list``: what can be named on the command line."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palimpsest.cli.help import definition_list

if TYPE_CHECKING:
    from palimpsest.registry import Registry

REGISTRIES = {
    "suites": "palimpsest.lm.suites.suite:SUITES",
    "conjugations": "palimpsest.lm.conjugations.specs:CONJUGATIONS",
    "models": "palimpsest.lm.models.specs:MODELS",
    "translators": "palimpsest.lm.translators.translator:TRANSLATORS",
    "scorers": "palimpsest.lm.scoring.scorers:SCORERS",
    "forms": "palimpsest.lm.scoring.forms:FORMS",
    "log-formats": "palimpsest.integrations.logs.formats:LOG_FORMATS",
    "members": "palimpsest.families.specs:MEMBERS",
    "distributions": "palimpsest.lab.problem.problem:DISTRIBUTIONS",
    "architectures": "palimpsest.lab.predictors.transformer:ARCHITECTURES",
    "remedies": "palimpsest.lab.training.remedies:REMEDIES",
    "engines": "palimpsest.engines.engine:ENGINES",
}
"""Kinds to ``"module:ATTRIBUTE"`` of their registries: a line for each that can be listed."""

ListedKind = StrEnum("ListedKind", list(REGISTRIES))  # type: ignore[misc]


Kind = Annotated[
    ListedKind, typer.Argument(metavar="KIND", help=f"What to list: {', '.join(REGISTRIES)}.")
]


def list_(kind: Kind) -> None:
    """List suites, conjugations and whatever else has a name.

    \b
    palimpsest list suites
    palimpsest list conjugations

    Plugins are included. A suite's languages are conjugations too: `--via fr` asks its French
    prompts. Next: name one in `palimpsest diagnose`.
    """
    module, _, attribute = REGISTRIES[kind].partition(":")
    registry: Registry[Any] = getattr(import_module(module), attribute)
    typer.echo(definition_list(registry.describe()))
