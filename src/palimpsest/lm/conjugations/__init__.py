"""Rewriting prompts by rule, and reading the answers back."""

from palimpsest.judging.via import Via, parse_via
from palimpsest.lm.conjugations.specs import CONJUGATIONS, parse_conjugation
from palimpsest.lm.conjugations.text import TextConjugation

__all__ = ["CONJUGATIONS", "TextConjugation", "Via", "parse_conjugation", "parse_via"]
