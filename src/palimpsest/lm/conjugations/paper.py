"""Leetspeak and pig latin by the rules of the paper, which lose some of the text.

Source: the parallel sentences that Kotha, Springer and Raghunathan (2024) published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from palimpsest.lm.conjugations.leet import LEET_DIGITS
from palimpsest.lm.conjugations.pig_latin import LETTERS, split_onset
from palimpsest.lm.conjugations.text import TextConjugation, lower_each

_TO_DIGITS = str.maketrans(LEET_DIGITS)
_TO_LETTERS = str.maketrans({digit: letter for letter, digit in LEET_DIGITS.items()})
_EDGE = re.compile(r"(?:(?<!\S)|(?=.(?:[\s.]|\Z)))[^\W\d_]", re.DOTALL)


class LeetPaper(TextConjugation):
    """Leetspeak without escapes, the first and last letter of each word in capitals.

    Example:
        >>> LeetPaper().apply("Hand me 7 apples.")
        'H4nD M3 7 4ppl35.'
        >>> LeetPaper().invert("H4nD M3 7 4ppl35.")
        'hand me t apples.'
    """

    name = "leet-paper"
    exact = False
    keeps = "letters without their case; the digits 4 8 3 1 0 5 7 come back as a b e i o s t"

    def apply(self, prompt: str) -> str:
        """Return the prompt in the paper's leetspeak."""
        return _EDGE.sub(_capital, lower_each(prompt).translate(_TO_DIGITS))

    def invert(self, answer: str) -> str:
        """Return the answer in lower-case letters."""
        return lower_each(answer).translate(_TO_LETTERS)

    def certain(self, partial: str) -> str:
        """Return all of it, letter by letter."""
        return self.invert(partial)


def _capital(match: re.Match[str]) -> str:
    """Return the letter in upper case if lower case leads back to it (it does not from SS to ß)."""
    letter = match[0]
    upper = letter.upper()
    return upper if upper.lower() == letter else letter


_APOSTROPHES = str.maketrans("", "", "'’")
_WORD = re.compile(LETTERS)
_HYPHENATED = re.compile(rf"{LETTERS}(?:-{LETTERS})*+")
_ONSETS = frozenset(
    "b c d f g h j k l m n p q r s t v w x y z bl br ch cl cr dr dw fl fr gh gl gn gr kl kn kr ph "
    "pl pr ps rh sc sh sk sl sm sn sp sq st sv sw th tr ts tw vl wh wr chr phr sch scr shr sph spl "
    "spr str thr".split()
)


class PigLatinPaper(TextConjugation):
    """Pig latin as one speaks it, which several words may share (``our`` and ``your``).

    Apostrophes go. A word that starts with a vowel takes ``yay`` (``ay`` if it ends in y); from
    others the leading consonants move to the end, before ``ay``, with a ``-`` between if the
    letters on both sides are equal. A word without a vowel stays.

    The inverse returns one of the words that are written so: the one without y in front or at the
    end, or the longest group of consonants that English words start with.

    Example:
        >>> PigLatinPaper().apply("It's a sprinkle by Dave.")
        'Itsyay ayay inkle-spray ybay Aveday.'
        >>> PigLatinPaper().invert("Itsyay ayay inkle-spray ybay Aveday.")
        'Its a sprinkle by Dave.'
    """

    name = "pig-latin-paper"
    exact = False
    keeps = (
        "everything but apostrophes, capitals inside words, and which of several words that are "
        "written alike was meant (our/your, with/thwi)"
    )

    def apply(self, prompt: str) -> str:
        """Return the prompt in the paper's pig latin."""
        return _WORD.sub(lambda m: _write(m[0]), prompt.translate(_APOSTROPHES))

    def invert(self, answer: str) -> str:
        """Return the answer in plain spelling; a word that is no pig latin stays as it is."""
        return _HYPHENATED.sub(lambda m: _read_hyphenated(m[0]), answer)

    def certain(self, partial: str) -> str:
        """Return everything before the word that may still grow."""
        end = len(partial)
        while end and not partial[end - 1].isspace():
            end -= 1
        return self.invert(partial[:end])


@lru_cache(maxsize=65536)
def _write(word: str) -> str:
    lower = word.lower()
    onset, rest = split_onset(lower)
    if not rest:
        return word
    if not onset:
        written = rest + ("ay" if rest.endswith("y") else "yay")
    else:
        written = f"{rest}{'-' if rest[-1] == onset[0] else ''}{onset}ay"
    return _like(word, written)


def _like(model: str, word: str) -> str:
    """Return a lower-case word with the capitals of another: all, the first, or none."""
    if len(model) > 1 and model == model.upper() != model.lower():
        return word.upper()
    return word[0].upper() + word[1:] if model[0].isupper() else word


def _read_hyphenated(written: str) -> str:
    """Read words with hyphens between, some of which may belong to the spelling of one word."""
    parts = written.split("-")
    # readings[i] is a reading of everything from part i on, if there is one.
    readings: list[list[str] | None] = [None] * len(parts) + [[]]
    for place in range(len(parts) - 1, -1, -1):
        for n_parts in (2, 1):
            rest = readings[place + n_parts] if place + n_parts <= len(parts) else None
            word = _read("-".join(parts[place : place + n_parts])) if rest is not None else None
            if rest is not None and word is not None:
                readings[place] = [word, *rest]
                break
    found = readings[0]
    return "-".join(found if found is not None else [_read(part) or part for part in parts])


@lru_cache(maxsize=65536)
def _read(written: str) -> str | None:
    """Return a word that is written so, or nothing if no word is."""
    candidates = (_like(written, word) for word in _sources(written.lower()))
    return next((word for word in candidates if _write(word) == written), None)


def _sources(written: str) -> Iterator[str]:
    """Yield the words that might be written so, the likeliest first."""
    stem = written[:-2]
    if "-" in stem:
        rest, _, onset = stem.partition("-")
        yield onset + rest
    elif written.endswith("ay") and stem:
        if stem.endswith("y"):
            yield stem[:-1] or stem
            yield stem
        splits = [(stem[place:], stem[:place]) for place in range(1, len(stem))]
        yield from (onset + rest for onset, rest in splits if onset in _ONSETS)
        yield from (onset + rest for onset, rest in splits if onset not in _ONSETS)
    yield written
