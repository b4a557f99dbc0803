"""Palimpsest: tell forgotten abilities of fine-tuned language models from hidden ones."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from palimpsest.conjugation import Chain, Conjugation, Ensemble, conjugate
    from palimpsest.errors import UserError
    from palimpsest.judging.diagnosis import diagnose
    from palimpsest.lm.conjugations import parse_conjugation
    from palimpsest.lm.models.specs import load_model
    from palimpsest.lm.suites import load_suite
    from palimpsest.records.results import Results

__version__ = "0.1.0"

__all__ = [
    "Chain",
    "Conjugation",
    "Ensemble",
    "Results",
    "UserError",
    "conjugate",
    "diagnose",
    "load_model",
    "load_suite",
    "parse_conjugation",
]

# Imported when first used: `import palimpsest` must load neither torch nor transformers.
_HOMES = {
    "Chain": "palimpsest.conjugation",
    "Conjugation": "palimpsest.conjugation",
    "Ensemble": "palimpsest.conjugation",
    "Results": "palimpsest.records.results",
    "UserError": "palimpsest.errors",
    "conjugate": "palimpsest.conjugation",
    "diagnose": "palimpsest.judging.diagnosis",
    "load_model": "palimpsest.lm.models.specs",
    "load_suite": "palimpsest.lm.suites",
    "parse_conjugation": "palimpsest.lm.conjugations",
}


if not TYPE_CHECKING:  # to a type checker, every name would be there

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'palimpsest' has no attribute '{name}'")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
