"""Rewriting prompts by rule, and reading the answers back."""

from palimpsest.lm.conjugations.specs import CONJUGATIONS, parse_conjugation
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.conjugations.via import Via, parse_via

__all__ = ["CONJUGATIONS", "TextConjugation", "Via", "parse_conjugation", "parse_via"]
