"""Parts of Inspect that it does not export, and the reading of what users type to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inspect_ai._util.error import PrerequisiteError
from inspect_ai._util.registry import registry_name
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.model._generate_config import active_generate_config
from rich.markup import escape

from palimpsest.errors import UserError

PACKAGE = "palimpsest"
"""Our name in Inspect: that of the entry point, and what stands before ``/icl_vs_if``."""


def in_package(name: str) -> str:
    """Return the name to register something by, so that it is found as ``palimpsest/NAME``.

    Inspect puts the package's name before it, but not if the package is installed editable and its
    distribution has another name, as ours has, or if it is not installed at all.
    """
    return name if registry_name(in_package, name) != name else f"{PACKAGE}/{name}"


@contextmanager
def told_to_the_user() -> Iterator[None]:
    """Let Inspect print our users' mistakes as it prints its own: the message, no traceback.

    Raises:
        PrerequisiteError: For every :class:`UserError` inside.
    """
    try:
        yield
    except UserError as error:
        raise PrerequisiteError(escape(str(error))) from error


def task_config() -> GenerateConfig:
    """Return the settings with which the running task asks its model."""
    return get_model().config.merge(active_generate_config())


def typed(value: object) -> str:
    """Return a value of ``-M``, ``-S`` or ``-T`` as it was typed.

    Inspect makes a list of what has commas, and a truth value of Norwegian.

    Example:
        >>> typed(["vote(fr", "leet)"]), typed(False), typed("leet")
        ('vote(fr,leet)', 'no', 'leet')
    """
    if isinstance(value, list | tuple):
        return ",".join(map(typed, value))
    return "no" if value is False else str(value)
