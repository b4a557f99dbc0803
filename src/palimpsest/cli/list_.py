"""``palimpsest list``: what can be named on the command line."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from palimpsest.registry import Registry


class Kind(StrEnum):
    """What to list."""

    suites = "suites"
    conjugations = "conjugations"
    models = "models"
    distributions = "distributions"
    architectures = "architectures"
    remedies = "remedies"
    engines = "engines"
    translators = "translators"


_REGISTRIES = {
    Kind.suites: "palimpsest.lm.suites.specs:SUITES",
    Kind.conjugations: "palimpsest.lm.conjugations.specs:CONJUGATIONS",
    Kind.models: "palimpsest.lm.models.specs:MODELS",
    Kind.distributions: "palimpsest.lab.problem.problem:DISTRIBUTIONS",
    Kind.architectures: "palimpsest.lab.predictors.transformer:ARCHITECTURES",
    Kind.remedies: "palimpsest.lab.training.remedies:REMEDIES",
    Kind.engines: "palimpsest.engines.engine:ENGINES",
    Kind.translators: "palimpsest.lm.translators.specs:TRANSLATORS",
}


def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List the suites, conjugations, model back ends or translators, plugins included.

    \b
    palimpsest list suites
    palimpsest list conjugations

    A suite's languages are conjugations too: `--via fr` asks its French prompts.
    """
    module, _, name = _REGISTRIES[kind].partition(":")
    registry: Registry[Any] = getattr(import_module(module), name)
    for entry, description in registry.describe():
        typer.echo(f"{entry:18}{description}")
