"""What ``palimpsest list`` prints: each registered name with its first line of documentation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from palimpsest.registry import Registry


def describe(kind: str) -> Iterator[tuple[str, str]]:
    """Yield (name, one sentence) for every suite, conjugation or model back end."""
    registry = _registry(kind)
    for name in registry:
        yield name, (inspect.getdoc(registry.get(name)) or "").partition("\n")[0]


def _registry(kind: str) -> Registry[Any]:
    match kind:
        case "suites":
            from palimpsest.lm.suites import SUITES

            return SUITES
        case "conjugations":
            from palimpsest.lm.conjugations import CONJUGATIONS

            return CONJUGATIONS
        case _:
            from palimpsest.lm.models.specs import MODELS

            return MODELS
