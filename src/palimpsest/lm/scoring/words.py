"""Words of answers: where an accepted text stands in one, and nothing is guessed.

A text matches where neither the character before it nor the one behind it continues its word or
number: ``12`` is found in ``12.`` and ``12 apples``, not in ``120``, ``12.5`` or ``12th``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

# Between two word characters these belong to the word: don't, well-known, col·legi, and the
# backslash with which exact leetspeak marks a literal digit (120 is \1\2\0).
_WORD_JOINERS = "'’ʼ-‐‑·\\"
# Between two digits these belong to the number, or to a range: 12.5, 12,000, 12:30, 12/5, 12–15.
_NUMBER_JOINERS = ".,:/٫٬–"
_PLAIN = str.maketrans(
    {"’": "'", "ʼ": "'", "‐": "-", "\u2011": "-", "…": "..."}
    | dict.fromkeys("\u00ad\u200b\u200e\u200f\u2060\ufeff")
)
_ELIDED = re.compile(
    r"(?<![\w'-])(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu|quoiqu|dell|nell|sull|all|dall|un)'$",
    re.IGNORECASE,
)
"""Words that lose their vowel before another, as in French ``l'été`` and Italian ``dell'arte``."""
_SIGNS = "-−"
_UNSPACED_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")

_MOST_MARKS = 2
"""Underscores of emphasis; more of them are a blank to be filled in."""

Match = Literal["yes", "no", "open"]


def normalise(text: str) -> str:
    r"""Return ``text`` in NFC, without leading space, runs of space made one, ``\_`` made ``_``.

    Models that write Markdown escape underscores. A trailing run of space stays as one space: it
    tells that the last word has ended.

    Example:
        >>> normalise("  \\_\\_\\_  cat\n")
        '___ cat '
    """
    ended = " " if text[-1:].isspace() else ""
    text = f"{' '.join(text.split())}{ended}".lstrip().replace("\\_", "_")
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def decompose(text: str) -> str:
    """Return the text in NFD.

    There an added accent shows up as one more character, so comparing by prefix is safe.
    """
    return text if text.isascii() else unicodedata.normalize("NFD", text)


def compared_form(text: str) -> str:
    r"""Return a text as it is compared: normalised and decomposed, typesetters' signs made plain.

    Apostrophes and hyphens of print become those of the keyboard, an ellipsis three points, and
    what cannot be seen (soft hyphens, zero-width spaces, marks of direction) goes: models write
    the same words with and without.

    Example:
        >>> compared_form("\ufeffJean\u2011Luc l’a dit…")
        "Jean-Luc l'a dit..."
    """
    return decompose(normalise(text if text.isascii() else text.translate(_PLAIN)))


def accepted_form(text: str) -> str:
    """Return an accepted text as it is looked for in answers."""
    return compared_form(text).rstrip()


def settled_form(text: str) -> str:
    """Return the part of the decomposed text that stays whatever is appended."""
    # A following underscore would swallow a backslash; following accents may be sorted in between.
    stable = compared_form(text.removesuffix("\\"))
    while stable and unicodedata.combining(stable[-1]):
        stable = stable[:-1]
    return stable


def match_at_start(expected: str, text: str, *, whole: bool) -> Match:
    """Say whether ``text`` begins with ``expected`` as whole words.

    Args:
        expected: Decomposed, not empty.
        text: Decomposed.
        whole: Whether the text ends here; otherwise more may follow, and the reply may be "open".
    """
    if not text.startswith(expected):
        return "open" if not whole and expected.startswith(text) else "no"
    rest = text[len(expected) : len(expected) + 3]
    if not _is_word(expected[-1]):
        return "yes"
    return _boundary(expected[-1], rest, whole=whole)


def places(expected: str, text: str, *, whole: bool) -> Iterator[int]:
    """Yield where ``expected`` surely stands in ``text`` as whole words; arguments as above.

    Example:
        >>> list(places("12", "120, 3.12 or -12: 12", whole=True))
        [18]
    """
    start = text.find(expected)
    while start >= 0:
        around = text[start : start + len(expected) + 3]
        if _begins(text, start) and match_at_start(expected, around, whole=whole) == "yes":
            yield start
        start = text.find(expected, start + 1)


def stands_in(expected: str, answer: str) -> bool:
    """Return whether a text stands in an answer as whole words, in its very form.

    Example:
        >>> stands_in("Paris", "It is Paris."), stands_in("Paris", "It is PARIS.")
        (True, False)
    """
    form = accepted_form(expected)
    found = places(form, compared_form(answer), whole=True) if form else ()
    return next(iter(found), None) is not None


def first_word(text: str) -> tuple[int, int] | None:
    """Return where the first word of a text begins and ends; nothing if it has none.

    Where a script puts no spaces between words, each character is one.

    Example:
        >>> [text[slice(*first_word(text) or (0, 0))] for text in ("¡It's late!", "去年夏天", "…")]
        ["It's", '去', '']
    """
    start = next((place for place, each in enumerate(text) if each.isalnum() or each == "_"), None)
    if start is None:
        return None
    end = start + 1
    while end < len(text):
        following = text[end]
        if not _is_word(following):
            joins = following in _WORD_JOINERS and following != "\\"
            if not joins or _boundary(text[start], text[end:], whole=True) == "yes":
                break
        elif not _continues(text[end - 1], following):
            break
        end += 1
    return start, end


def _begins(text: str, start: int) -> bool:
    """Say whether no word or number that stands before a place goes on there."""
    before, first = text[max(start - 3, 0) : start], text[start]
    if not before or not _is_word(first):
        return True
    if first.isdigit() and before[-1] in _SIGNS:
        return False
    if before[-1] == "'" and first.isalpha() and _ELIDED.search(text, max(start - 8, 0), start):
        return True
    return _boundary(first, before[::-1], whole=True) == "yes"


def _boundary(last: str, rest: str, *, whole: bool) -> Match:
    """Say whether a word that ends in ``last`` ends before ``rest``."""
    if not rest:
        return "yes" if whole else "open"
    if rest[0] == "_" != last:  # emphasis in Markdown, unless a word goes on behind it
        after = rest.lstrip("_")
        if not after and not whole:
            return "open"
        return "no" if len(rest) - len(after) > _MOST_MARKS or _is_word(after[:1]) else "yes"
    if _is_word(rest[0]):
        return "no" if _continues(last, rest[0]) else "yes"
    joins_numbers = rest[0] in _NUMBER_JOINERS and last.isdigit()
    if not joins_numbers and rest[0] not in _WORD_JOINERS:
        return "yes"
    after = rest[1:].lstrip("\\") if rest[1:2] == "\\" else rest[1:]
    if not after:
        return "yes" if whole else "open"
    return "no" if (after[0].isdigit() if joins_numbers else _is_word(after[0])) else "yes"


def _is_word(character: str) -> bool:
    """Say whether a character belongs to words; nothing does not."""
    if character.isascii():
        return character.isalnum() or character == "_"
    # Accents and vowel signs are marks.
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _continues(last: str, following: str) -> bool:
    """Say whether ``following``, a word character, belongs to the word that ends in ``last``."""
    if unicodedata.category(following).startswith("M"):
        return True
    # Without spaces between words, only the longest match can tell where one ends.
    return not (is_unspaced(last) or is_unspaced(following))


@lru_cache(maxsize=4096)
def is_unspaced(character: str) -> bool:
    """Return whether a character is of a script that puts no spaces between words."""
    name = unicodedata.name(character, "") if character else ""
    return name.startswith(_UNSPACED_SCRIPTS)
