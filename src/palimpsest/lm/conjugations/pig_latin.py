"""Pig latin with an explicit separator, so that every text comes back exactly."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from palimpsest.lm.conjugations.text import TextConjugation, likeness_by_rule

DOT = "·"

LETTERS = r"(?:[^\W\d_][\u0300-\u036f]*+)++"
"""A regular expression for a word: letters, each with its combining accents."""

_FORWARD = re.compile(rf"({LETTERS})|{DOT}")
_BACKWARD = re.compile(rf"({LETTERS})(?:{DOT}({LETTERS}))?|{DOT}{DOT}")
_OPEN = re.compile(rf"[^\W\d_]|[\u0300-\u036f{DOT}]")
_LIGATURES = "æœøı"


class PigLatin(TextConjugation):
    """Leading consonants move behind a ``·`` and are followed by ``ay``; a literal ``·`` doubles.

    Words in lower case, Title case or CAPITALS that have a Latin vowel are rewritten, the capital
    pattern moving with them; every other word stays. No text is ambiguous: a single ``·`` with a
    letter on each side is always ours, since one that was there before comes doubled.

    Example:
        >>> PigLatin().apply("Trash by the apple · I say.")
        'Ash·tray y·bay e·thay apple·ay ·· I·ay ay·say.'
        >>> PigLatin().invert("Ash·tray ·· I·ay")
        'Trash · I'
    """

    name = "pig-latin"
    exact = True
    beside = (DOT, f"a{DOT}", f"{DOT}ay", "ay")
    # A rewritten word has a "·", which no span but code and URLs may hold, and "http" has no vowel;
    # numbers are not touched, found or not.
    kept_spans = frozenset({"code", "urls", "labels", "placeholders", "numbers"})

    def apply(self, prompt: str) -> str:
        """Return the prompt in pig latin."""
        return _FORWARD.sub(_written, prompt)

    def invert(self, answer: str) -> str:
        """Return the answer in plain spelling; what is not our pig latin stays as it is."""
        return _BACKWARD.sub(_read, answer)

    def likeness(self, word: str) -> float | None:
        """Tell by the separator, and by vowels without it."""
        return likeness_by_rule(self, word)

    def certain(self, partial: str) -> str:
        """Return everything before the word that may still grow."""
        end = len(partial)
        while end and _OPEN.match(partial, end - 1):
            end -= 1
        return self.invert(partial[:end])


def split_onset(word: str) -> tuple[str, str]:
    """Return the leading consonants of a word and the rest, which is empty without a vowel.

    Vowels are a, e, i, o, u with or without accents, a few ligatures, and y but for the first
    letter. There is no rule for qu, as in the paper.

    Example:
        >>> split_onset("étude"), split_onset("style"), split_onset("brr")
        (('', 'étude'), ('st', 'yle'), ('brr', ''))
    """
    for place, char in enumerate(word):
        if _is_vowel(char, first=place == 0):
            return word[:place], word[place:]
    return word, ""


def _is_vowel(char: str, *, first: bool) -> bool:
    letter = char.lower()
    if not letter.isascii():
        letter = unicodedata.normalize("NFD", letter)[:1]
    return letter in "aeiou" or letter in _LIGATURES or (letter == "y" and not first)


# The caches shall hold words, not documents without a space.
_LONGEST_KEPT = 64


def _written(match: re.Match[str]) -> str:
    word = match[0]
    if word == DOT:
        return DOT + DOT
    return _kept_written(word) if len(word) <= _LONGEST_KEPT else _write(word)


def _write(word: str) -> str:
    """Return the word in pig latin, or as it is where the inverse would not give it back."""
    written = _move_onset(word)
    return written if written and _BACKWARD.sub(_read, written) == word else word


_kept_written = lru_cache(maxsize=65536)(_write)


def _move_onset(word: str) -> str | None:
    lower = word.lower()
    onset, rest = split_onset(lower)
    if not rest:
        return None
    if word == lower:
        return f"{rest}{DOT}{onset}ay"
    if word[1:] == lower[1:]:
        return f"{rest[0].upper()}{rest[1:]}{DOT}{onset}ay"
    if word == word.upper():
        return f"{rest}{DOT}{onset}ay".upper()
    return None


def _read(match: re.Match[str]) -> str:
    word = match[0]
    if DOT not in word:
        return word
    return _kept_read(word) if len(word) <= _LONGEST_KEPT else _in_order(word)


def _in_order(word: str) -> str:
    """Return what was found between two letters, or a doubled point, in plain spelling."""
    rest, _, moved = word.partition(DOT)
    if not rest:
        return DOT
    if moved[-2:].lower() != "ay":
        return word
    onset = moved[:-2]
    if moved[-2:] == "AY":
        return f"{onset}{rest}"
    if rest[0].isupper():
        plain = onset.lower() + rest[0].lower() + rest[1:]
        return plain[0].upper() + plain[1:]
    return f"{onset}{rest}"


_kept_read = lru_cache(maxsize=65536)(_in_order)
