"""Suites: prompts with a known right answer and known wrong ones, and how answers are scored."""

from palimpsest.lm.suites.specs import SUITES, load_suite

__all__ = ["SUITES", "load_suite"]
