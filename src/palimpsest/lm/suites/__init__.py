"""Suites: prompts with a known right answer and known wrong ones, and how answers are scored."""

from palimpsest.lm.suites.suite import SUITES, load_suite

__all__ = ["SUITES", "load_suite"]
