"""Leetspeak with escapes, so that every text comes back exactly."""

from __future__ import annotations

import re

from palimpsest.lm.conjugations.text import TextConjugation, likeness_by_rule

LEET_DIGITS = {"a": "4", "b": "8", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"}
"""The letters that leetspeak writes as digits (the paper's table)."""

_WRITE = str.maketrans(LEET_DIGITS | {char: f"\\{char}" for char in "0123456789\\"})
_READ = str.maketrans({digit: letter for letter, digit in LEET_DIGITS.items()})
_ESCAPE = re.compile(r"(\\[0-9\\])")


class Leet(TextConjugation):
    r"""Lower-case ``abeiost`` become ``4831057``; literal digits and ``\`` get a ``\`` in front.

    Example:
        >>> print(Leet().apply("Is it 7?"))
        I5 17 \7?
        >>> Leet().invert(r"I5 17 \7?")
        'Is it 7?'
    """

    name = "leet"
    exact = True
    growth = 2
    # No capital, colon, brace, backtick, slash or white space appears or goes, and a digit without
    # a backslash was a letter, so what looks like a label or placeholder was one; "http" is never
    # written. Numbers are out: "it" becomes "17".
    kept_spans = frozenset({"code", "urls", "labels", "placeholders"})

    def apply(self, prompt: str) -> str:
        """Return the prompt in leetspeak; capitals stay."""
        return prompt.translate(_WRITE)

    def invert(self, answer: str) -> str:
        r"""Return the answer in letters.

        Models forget escapes: a bare digit that stands for no letter stays, and so does a ``\``
        before anything but a digit or a ``\``.
        """
        parts = _ESCAPE.split(answer)
        parts[::2] = [part.translate(_READ) for part in parts[::2]]
        parts[1::2] = [escape[1] for escape in parts[1::2]]
        return "".join(parts)

    def likeness(self, word: str) -> float | None:
        """Say nothing of digits alone: ``15`` is *is*, or what a model counted."""
        return likeness_by_rule(self, word) if any(map(str.isalpha, word)) else None

    def certain(self, partial: str) -> str:
        r"""Return everything but a last ``\`` that still waits for what it escapes."""
        backslashes = len(partial) - len(partial.rstrip("\\"))
        return self.invert(partial[:-1] if backslashes % 2 else partial)
