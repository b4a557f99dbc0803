"""Suites: prompts with a known right answer and known wrong ones, and how answers are scored."""
