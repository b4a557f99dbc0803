"""Scorer by prefix: the text with which an answer begins decides, and nothing is guessed.

An answer counts for a text when it *begins* with it and the next character does not continue the
word or number: ``12`` is found in ``12.`` and ``12 apples``, not in ``120``, ``12.5`` or ``12th``.
Letter case counts, since capitals are what one of the tasks asks for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from palimpsest.lm.scoring.scorers import Scorer
from palimpsest.records import Outcome

_SPACES = re.compile(r"\s+")

# Between two word characters these belong to the word: don't, well-known, col·legi, and the
# backslash with which exact leetspeak marks a literal digit (120 is \1\2\0).
_WORD_JOINERS = "'’ʼ-‐‑·\\"
# Between two digits these belong to the number: 12.5, 12,000, 12:30, 12/5.
_NUMBER_JOINERS = ".,:/٫٬"
_UNSPACED_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")

_Match = Literal["yes", "no", "open"]


def normalise(text: str) -> str:
    r"""Return ``text`` in NFC, without leading space, runs of space made one, ``\_`` made ``_``.

    Models that write Markdown escape underscores. A trailing run of space stays as one space: it
    tells that the last word has ended.

    Example:
        >>> normalise("  \\_\\_\\_  cat\n")
        '___ cat '
    """
    return unicodedata.normalize("NFC", _SPACES.sub(" ", text).lstrip().replace("\\_", "_"))


class PrefixScorer(Scorer):
    """The longest accepted text with which an answer begins, as whole words.

    If one text is accepted on both sides, no answer can tell the two tasks apart: it is scored
    ``broken``, and :attr:`ambiguous` says so beforehand.

    Example:
        >>> scorer = PrefixScorer(right=("What",), intruding=("12",))
        >>> [scorer.outcome(answer) for answer in ("What is", "12.", "Whatever", "120")]
        ['right', 'intruded', 'broken', 'broken']
        >>> scorer.decided("12"), scorer.decided("12 ")
        (False, True)
    """

    def __init__(self, right: Sequence[str], intruding: Sequence[str]) -> None:
        super().__init__(right, intruding)
        self._right = frozenset(map(_expected, self.right))
        self._intruding = frozenset(map(_expected, self.intruding))
        # Longest first, so that the first match wins.
        self._texts = sorted(self._right | self._intruding, key=lambda text: (-len(text), text))

    @property
    def ambiguous(self) -> bool:
        """Whether some text is accepted on both sides."""
        return bool(self._right & self._intruding)

    @property
    def separable(self) -> bool:
        """Whether every accepted answer is scored as what it is, alone and followed by others.

        It is not where one side's text is merely the beginning of the other's, as with
        ``New`` and ``New York``: there a longer answer could turn one into the other.
        """
        if not self._right:
            return False
        return not any(
            _match(shorter, longer, whole=True) == "yes"
            or _match(longer, shorter, whole=True) == "yes"
            for shorter in self._right
            for longer in self._intruding
        )

    def outcome(self, answer: str) -> Outcome:
        """Return what the answer is, taken as complete."""
        text = _decompose(normalise(answer))
        for expected in self._texts:
            if _match(expected, text, whole=True) == "yes":
                return self._side(expected)
        return "broken"

    def decided(self, certain_text: str) -> bool:
        """Return whether no continuation of ``certain_text`` can change the outcome."""
        text = _stable(certain_text)
        # What each text would make of the answer, longest first, up to one that surely matches.
        possible: list[Outcome] = []
        for expected in self._texts:
            match _match(expected, text, whole=False):
                case "yes":
                    return all(side == self._side(expected) for side in possible)
                case "open":
                    possible.append(self._side(expected))
                case "no":
                    pass
        return all(side == "broken" for side in possible)

    def _side(self, expected: str) -> Outcome:
        if expected in self._right:
            return "broken" if expected in self._intruding else "right"
        return "intruded"


def _decompose(text: str) -> str:
    # In NFD an added accent shows up as one more character, so comparing by prefix is safe.
    return unicodedata.normalize("NFD", text)


def _expected(text: str) -> str:
    return _decompose(normalise(text)).rstrip()


def _stable(text: str) -> str:
    """Return the part of the decomposed text that stays whatever is appended."""
    # A following underscore would swallow a backslash; following accents may be sorted in between.
    stable = _decompose(normalise(text.removesuffix("\\")))
    while stable and unicodedata.combining(stable[-1]):
        stable = stable[:-1]
    return stable


def _match(expected: str, text: str, *, whole: bool) -> _Match:
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


def _boundary(last: str, rest: str, *, whole: bool) -> _Match:
    """Say whether a word that ends in ``last`` ends before ``rest``."""
    if not rest:
        return "yes" if whole else "open"
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
    return (
        character.isalnum()
        or character == "_"
        or unicodedata.category(character).startswith("M")  # accents and vowel signs
    )


def _continues(last: str, following: str) -> bool:
    """Say whether ``following``, a word character, belongs to the word that ends in ``last``."""
    if unicodedata.category(following).startswith("M"):
        return True
    # Without spaces between words, only the longest match can tell where one ends.
    return not (_is_unspaced(last) or _is_unspaced(following))


@lru_cache(maxsize=4096)
def _is_unspaced(character: str) -> bool:
    return unicodedata.name(character, "").startswith(_UNSPACED_SCRIPTS)
