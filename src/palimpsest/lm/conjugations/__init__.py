"""Text conjugations: rewriting prompts by rule or translation, and reading the answers back."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lm.conjugations.ensembles import TextEnsemble, agreeing, parse_ensemble
    from palimpsest.lm.conjugations.spans import survival
    from palimpsest.lm.conjugations.specs import (
        CONJUGATIONS,
        is_translation,
        parse_conjugation,
        split_links,
    )
    from palimpsest.lm.conjugations.text import TextConjugation, TooLongError, likeness_by_rule

__all__ = [
    "CONJUGATIONS", "TextConjugation", "TextEnsemble", "TooLongError", "agreeing",
    "is_translation", "likeness_by_rule", "parse_conjugation", "parse_ensemble", "split_links",
    "survival",
]  # fmt: skip

lazy_face(globals())
