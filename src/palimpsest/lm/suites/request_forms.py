"""Forms of answers to a request, right or wrong: to one for a number, to one for a word."""

from __future__ import annotations

import re
from collections.abc import Callable

from palimpsest.lm.scoring import first_word, is_unspaced

_WORD = r"[\pL\pM\pN'’ʼ·\\-]+"
_NOT_WORD = r"[^\pL\pN_\\]"
_SHORT = r"[\pL\pM\pN]{1,4}"
"""A word, where none is told from the next by a space."""


def number_form(rewrite: Callable[[str], str] = str) -> str:
    r"""Return the form of a number, in a language that may be rewritten.

    Example:
        >>> from palimpsest.lm.conjugations import parse_conjugation
        >>> number_form(), number_form(parse_conjugation("leet").apply)[:31]
        ('number', 'regex:^[^\\pL\\pN_\\\\]*(?:\\\\?\\d)+(')
    """
    if rewrite("0") == "0":
        return "number"
    return rf"regex:^{_NOT_WORD}*(?:\\?\d)+({_NOT_WORD}|$)"


def filled_form(blanked: str, rewrite: Callable[[str], str] = str) -> str:
    """Return the form of one word for a blank, alone or with what follows the blank.

    Args:
        blanked: A sentence whose first word is ``___``.
        rewrite: How the language is rewritten.

    Example:
        >>> from palimpsest.lm.scoring import form_for
        >>> form = form_for(filled_form("___ cat sleeps."))
        >>> [form.fits(text) for text in ("Dog.", "A cat", "a dog", "___ cat", "A CAT sleeps!")]
        [True, True, False, False, True]
    """
    behind = re.split(r"_+", blanked, maxsplit=1)[1]
    place = first_word(behind)
    following = behind[slice(*place)] if place else ""
    end = rf"{_NOT_WORD}*$"
    if is_unspaced(following[:1]):
        return rf"regex:^{_NOT_WORD}*{_SHORT}({end}|{_quoted(behind[:2].rstrip())})"
    if following:
        end += rf"|{_NOT_WORD}+{_quoted(rewrite(following))}({_NOT_WORD}|$)"
    return rf"regex:(?i)^{_NOT_WORD}*{_WORD}({end})"


def _quoted(text: str) -> str:
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)
