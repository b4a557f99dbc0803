"""Cuts of long text where a sentence ends, so that every part can be translated by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# Up to the end of a sentence, with the space after it; Chinese and Japanese write none.
_SENTENCE = re.compile(
    r"[^.!?…。！？]*+"
    r"(?:[.!?…]++[\"'”’»)\]]*+(?:\s++|\Z)|[。！？]++\s*+|[.!?…]++|\Z)"
)
_WORD = re.compile(r"\S*+\s*+")


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, each with the white space after it.

    Example:
        >>> split_sentences("Is it 3.5? Yes.  No… 好。不。")
        ['Is it 3.5? ', 'Yes.  ', 'No… ', '好。', '不。']
    """
    sentences: list[str] = []
    held = ""
    for match in _SENTENCE.finditer(text):
        held += match[0]
        if match[0][-1:].isspace() or match[0][-1:] in "。！？":
            sentences.append(held)
            held = ""
    return [*sentences, held] if held else [each for each in sentences if each]


def split_long(text: str, *, most: int, size: Callable[[str], int] = len) -> list[str]:
    """Return parts that together are the text, each of at most ``most``, in as few as fit in turn.

    They end where a sentence ends, else after a word; a single word may be longer than ``most``.

    Args:
        text: What to cut.
        most: The largest size of a part.
        size: Measures a part, such as in tokens; must not shrink as text is added.

    Example:
        >>> split_long("One two. Three four five. Six.", most=12)
        ['One two. ', 'Three four ', 'five. Six.']
    """
    if size(text) <= most:
        return [text]
    parts = [""]
    for unit in _units(text, most, size):
        if parts[-1] and size(parts[-1] + unit) > most:
            parts.append("")
        parts[-1] += unit
    return parts


def _units(text: str, most: int, size: Callable[[str], int]) -> Iterator[str]:
    """Yield sentences, and the words of those that are too long."""
    for sentence in split_sentences(text):
        if size(sentence) <= most:
            yield sentence
        else:
            yield from (word for word in _WORD.findall(sentence) if word)
