"""Text conjugations: rewriting prompts by rule or translation, and reading the answers back."""

from palimpsest.lm.conjugations.specs import CONJUGATIONS, parse_conjugation
from palimpsest.lm.conjugations.text import TextConjugation

__all__ = ["CONJUGATIONS", "TextConjugation", "parse_conjugation"]
