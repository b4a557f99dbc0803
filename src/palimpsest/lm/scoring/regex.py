"""Scorer by regular expressions, matched in linear time whatever the pattern."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import re2

from palimpsest.errors import UserError
from palimpsest.lm.prompts import valid_unicode
from palimpsest.lm.scoring.scorers import Scorer
from palimpsest.records import Outcome

_MOST_BYTES = 8 * 2**20

_LETTER = r"[^\W\d_\x00-\x7f]"
_UNSEEN_EDGE = re.compile(rf"(?<!\\)(?:\\\\)*\\b({_LETTER})|({_LETTER})\\b")
"""The edge of a word at a letter that RE2 takes for none."""


class RegexScorer(Scorer):
    r"""Accepted texts are RE2 patterns, found anywhere; write ``^`` and ``$`` for the whole answer.

    RE2 matches in linear time, so no pattern can hang. It has no lookaround and no backreferences,
    and its ``\w``, ``\d``, ``\s`` and ``\b`` know English alone; ``\pL`` is any letter. White space
    around the answer is left off, and accents are composed on both sides.

    Example:
        >>> scorer = RegexScorer(right=(r"^\s*#\w{6}\b",), intruding=(r"(?i)sorry",))
        >>> [scorer.outcome(answer) for answer in (" #ff8800", "SORRY!", "#12")]
        ['right', 'intruded', 'broken']
    """

    reads_on = True
    of_texts = False

    def set_up(self) -> None:
        """Compile the patterns."""
        self._right = tuple(compiled(composed(text)) for text in self.right)
        self._intruding = tuple(compiled(composed(text)) for text in self.intruding)

    def outcome(self, answer: str) -> Outcome:
        """Return whose pattern is found."""
        answer = composed(answer).strip()
        return self.of_side(_any(self._right, answer), _any(self._intruding, answer))

    @property
    def ambiguous(self) -> bool:
        """Whether a pattern stands on both sides; that two patterns meet is not told beforehand."""
        return not set(self.right).isdisjoint(self.intruding)


def composed(text: str) -> str:
    """Return a text in NFC, with line breaks of one character."""
    text = text.replace("\r\n", "\n")
    return text if text.isascii() else unicodedata.normalize("NFC", text)


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> Any:
    """Return a compiled RE2 pattern.

    Raises:
        UserError: It is no pattern of RE2, or one that finds nothing in RE2.
    """
    unseen = _UNSEEN_EDGE.search(pattern)
    if unseen is not None:
        letter = unseen[1] or unseen[2]
        raise UserError(
            f"The pattern '{pattern}' cannot be used: RE2 knows letters of English alone as parts "
            f"of words, so that there is no edge (\\b) of one beside '{letter}'.",
            hint=r"Write (?:^|\PL) before and (?:\PL|$) behind the word.",
        )
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_BYTES
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        said = error.args[0] if error.args else error
        said = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise UserError(
            f"The pattern '{pattern}' cannot be used: {said}.",
            hint="Patterns are those of RE2, which has no lookaround and no backreferences: "
            "https://github.com/google/re2/wiki/Syntax",
        ) from error


def is_found(pattern: Any, text: str) -> bool:
    r"""Return whether a compiled pattern is found; RE2 takes no lone surrogate, so it reads ``�``.

    Example:
        >>> is_found(compiled("^a.b$"), "a\ud800b")
        True
    """
    return pattern.search(text if text.isascii() else valid_unicode(text)) is not None


def _any(patterns: Iterable[Any], answer: str) -> bool:
    return any(is_found(pattern, answer) for pattern in patterns)
