"""Leetspeak and pig latin by the rules of the paper, which lose some of the text.

Source: the parallel sentences that Kotha, Springer and Raghunathan (2024) published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain

from palimpsest.lm.conjugations.leet import LEET_DIGITS
from palimpsest.lm.conjugations.pig_latin import LETTERS, split_onset
from palimpsest.lm.conjugations.text import TextConjugation, likeness_by_rule, lower_each

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
    growth = 3
    keeps = "letters without their case; the digits 4 8 3 1 0 5 7 come back as a b e i o s t"

    def apply(self, prompt: str) -> str:
        """Return the prompt in the paper's leetspeak."""
        return _EDGE.sub(_capital, lower_each(prompt).translate(_TO_DIGITS))

    def invert(self, answer: str) -> str:
        """Return the answer in lower-case letters."""
        return lower_each(answer).translate(_TO_LETTERS)

    def likeness(self, word: str) -> float | None:
        """Say nothing of digits alone: ``15`` is *is*, or what a model counted."""
        letters = set(lower_each(word))
        if not any(map(str.isalpha, letters)):
            return None
        if letters & LEET_DIGITS.keys():
            return 0.0
        return 1.0 if letters & set(LEET_DIGITS.values()) else None

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
_LONGEST_WORD = 64

_ADVERB = re.compile(r"[^aeiouyl]ly$|..lly$")

# Groups that more often begin a word than they join its last letter to its first: "that" is
# "at·th", but "was" is "as·w". Others, such as sw or dr, are read the second way.
_ONSET = re.compile("[bcf][lr]|[gk]n|gr|p[lr]|s(?:c[hr]|hr?|q|tr?)|thr?|tr|w[hr]|ch")


class PigLatinPaper(TextConjugation):
    """Pig latin as one speaks it, which several words may share (``our`` and ``your``).

    Apostrophes go. A word that starts with a vowel takes ``yay`` (``ay`` if it ends in y); from
    others the leading consonants move to the end, before ``ay``, with a ``-`` between if the
    letters on both sides are equal. A word without a vowel stays (and one of over 64 letters).

    The inverse returns a word that is written so, by guess where there are several. Whichever it
    picks, ``apply(invert(apply(p))) == apply(p)``: the model could not tell it from the original.

    Example:
        >>> PigLatinPaper().apply("It's my sister's star.")
        'Itsyay ymay isters-say arstay.'
        >>> PigLatinPaper().invert("Itsyay ymay isters-say arstay.")
        'Its my sisters star.'
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

    def likeness(self, word: str) -> float | None:
        """Tell by the endings."""
        return likeness_by_rule(self, word)

    def certain(self, partial: str) -> str:
        """Return everything before the word that may still grow."""
        end = len(partial)
        while end and not partial[end - 1].isspace():
            end -= 1
        return self.invert(partial[:end])


def _write(word: str) -> str:
    return _write_short(word) if len(word) <= _LONGEST_WORD else word


@lru_cache(maxsize=65536)
def _write_short(word: str) -> str:
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
    # readings[i]: the first word of a reading of all parts from i on, and where the next begins.
    readings: list[tuple[str, int] | None] = [None] * len(parts)
    for place in reversed(range(len(parts))):
        for after in (place + 2, place + 1):
            if after == len(parts) or (after < len(parts) and readings[after]):
                word = _read("-".join(parts[place:after]))
                if word is not None:
                    readings[place] = word, after
                    break
    words, place = [], 0
    while place < len(parts):
        # Not our pig latin: read what can be read.
        word, place = readings[place] or (_read(parts[place]) or parts[place], place + 1)
        words.append(word)
    return "-".join(words)


def _read(written: str) -> str | None:
    """Return a word that is written so, or nothing if no word is."""
    # A word of 64 letters may gain a hyphen, ay and y, and some letters more in capitals (ß).
    return _read_short(written) if len(written) <= 2 * _LONGEST_WORD else written


@lru_cache(maxsize=65536)
def _read_short(written: str) -> str | None:
    sources = filter(_WORD.fullmatch, _sources(written.lower()))
    candidates = (_like(written, word) for word in sources)
    return next((word for word in chain(candidates, [written]) if _write(word) == written), None)


def _sources(written: str) -> Iterator[str]:
    """Yield the words that might be written so, the likeliest first."""
    stem = written[:-2]
    if "-" in stem:
        rest, _, onset = stem.partition("-")
        yield onset + rest
    elif written.endswith("ay") and stem:
        if stem.endswith("y") and not stem.endswith("uy"):
            yield stem if _ADVERB.search(stem) else stem[:-1]
        splits = [(stem[place:], stem[:place]) for place in range(1, len(stem))]
        yield from (onset + rest for onset, rest in splits if _ONSET.fullmatch(onset))
        yield from (onset + rest for onset, rest in reversed(splits))
        yield stem[:-1]
        yield stem
