"""Palimpsest: tell forgotten abilities of fine-tuned language models from hidden ones."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.conjugation import Chain, Conjugation, Ensemble, conjugate
    from palimpsest.errors import UserError
    from palimpsest.judging import diagnose
    from palimpsest.lm.conjugations import parse_conjugation
    from palimpsest.lm.models import load_model
    from palimpsest.lm.suites import load_suite
    from palimpsest.records import Results

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

lazy_face(globals())
