"""Layout of a text: its sentences, which are for a translator, and the marks around them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from palimpsest.lm.conjugations.spans import PATTERNS, survival
from palimpsest.lm.translators import split_long

LONGEST = 1500
"""Characters that are sent as one text."""

# Every character at which str.splitlines breaks.
_LINE_BREAK = r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]"

_FENCE = re.compile("```")
_CODE = re.compile("```|`[^`]++`")

_LABEL = r"[^\W\d_][\w\u0300-\u036f]*+(?: (?:\d{1,3}|[A-Z]|\([A-Z\d]\)))?[ \u00a0]?:(?!//)"
_PREFIX = re.compile(
    r"(?:(?:[-*+•‣◦▪●○–—·]{1,3}|\#{1,6}|>{1,3}|\|"  # bullets, headings, quotations, tables
    r"|\(?\d{1,3}[.)]|\(?[A-Za-z][.)])[ \t]++)*+"  # numbers and letters of lists
    rf"(?:(?:\*\*|__)?{_LABEL}(?:\*\*|__)?)?"
)

# Never sent to a translator: what is no text, or too long for a word, or looks like our masks.
_UNSAFE = r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ue000-\uf8ff⟦⟧]++|\S{200,}+"

_SPAN = re.compile(
    "|".join(
        [
            rf"(?P<unsafe>{_UNSAFE})",
            r"`[^`]++`",
            PATTERNS["urls"],
            r"(?<![\w.@-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+",
            PATTERNS["placeholders"],
            r"\$\{\w++\}|\$[A-Za-z_]\w*+|%\(\w++\)[sdfr]|%[sdfr](?!\w)",
            r"</?[A-Za-z][^<>`]{0,80}>|\[\w++\]",
            r"(?<!\w)[^\W_]++(?:_[^\W_]++)++(?!\w)",
            r"_{2,}+",
            PATTERNS["numbers"],
        ]
    )
)

# Nothing on one side of these belongs to a sentence on the other; those within spans do not count.
_BREAK = re.compile(
    rf"(?P<line>{_LINE_BREAK})|"
    r"(?P<mark><\|[^|<>\s]{1,40}\|>|\[/?INST\])|"
    rf"(?:{_SPAN.pattern})|"
    r"(?P<other>\t++|[-=#*~]{3,}+|>{3,}+|[-=]>|→|⇒|\|++)"
)

_WITHIN_SENTENCES = tuple(kind for kind in PATTERNS if kind != "labels")

_MASK = re.compile(r"⟦\s*+(\d++)\s*+⟧")


class TextPart(NamedTuple):
    """A part of a text."""

    text: str
    free: bool
    """Whether it is to be translated; else it stays as it is."""


def lines(text: str) -> Iterator[list[TextPart]]:
    r"""Yield the parts of every line, in order; together they are the text.

    What is between ``` stays, to the end of the text if need be.

    Example:
        >>> [[part.text for part in line if part.free] for line in lines("1. Q: Say it.\n---\n")]
        [['Say it.'], []]
    """
    in_code = False
    for line in re.findall(r"[^\n]*+\n|[^\n]++", text):
        parts: list[TextPart] = []
        start = 0
        for fence in _fences(line, in_code=in_code):
            parts += _stretch(line[start:fence], starts_line=not start, is_code=in_code)
            parts.append(TextPart("```", False))
            in_code, start = not in_code, fence + 3
        parts += _stretch(line[start:], starts_line=not start, is_code=in_code)
        yield parts


def whole_lines(text: str) -> str:
    r"""Return a text up to its last line break.

    Example:
        >>> whole_lines("One.\nTwo")
        'One.\n'
    """
    return text[: text.rfind("\n") + 1]


def _fences(line: str, *, in_code: bool) -> Iterator[int]:
    """Yield where a line has a ``` that begins or ends a block of code."""
    end = 0
    while match := (_FENCE if in_code else _CODE).search(line, end):
        end = match.end()
        if match[0] == "```":
            yield match.start()
            in_code = not in_code


def _stretch(text: str, *, starts_line: bool, is_code: bool) -> Iterator[TextPart]:
    """Yield the parts of what is in a line between fences."""
    if is_code:
        yield TextPart(text, False)
        return
    start = 0
    for match in _BREAK.finditer(text):
        if match["line"] is not None:
            yield from _clauses(text[start : match.start()], starts_line=starts_line)
            yield TextPart(match[0], False)
            start, starts_line = match.end(), True
    yield from _clauses(text[start:], starts_line=starts_line)


def _clauses(text: str, *, starts_line: bool) -> Iterator[TextPart]:
    """Yield the parts of what is between line breaks of any kind."""
    body = text.lstrip()
    yield TextPart(text[: len(text) - len(body)], False)
    prefix = _PREFIX.match(body)
    start = prefix.end() if starts_line and prefix else 0
    yield TextPart(body[:start], False)
    for match in _BREAK.finditer(body, start):
        if match["mark"] or match["other"]:
            yield from _sentences(body[start : match.start()])
            yield TextPart(match[0], False)
            start = match.end()
    yield from _sentences(body[start:])


def _sentences(text: str) -> Iterator[TextPart]:
    for part in split_long(text, most=LONGEST):
        core = part.strip()
        if not has_words(core):
            yield TextPart(part, False)
            continue
        begin = part.index(core)
        yield TextPart(part[:begin], False)
        yield TextPart(core, True)
        yield TextPart(part[begin + len(core) :], False)


def has_words(text: str) -> bool:
    """Return whether anything is left to translate beside protected spans.

    Example:
        >>> has_words("____ {x} 5!"), has_words("5 apples")
        (False, True)
    """
    return any(char.isalpha() for char in _SPAN.sub("", text))


class Masked(NamedTuple):
    """A sentence with masks for protected spans."""

    text: str
    spans: tuple[str, ...]

    def restore(self, translation: str) -> str | None:
        """Return a translation with the spans for the masks; nothing if not each came back once.

        Example:
            >>> mask("Add 5 and {x}.").restore("⟦1⟧ und ⟦ 0 ⟧.")
            '{x} und 5.'
            >>> mask("Add 5 and {x}.").restore("⟦1⟧ und ⟦1⟧.") is None
            True
        """
        numbers = sorted(map(int, _MASK.findall(translation)))
        if numbers != list(range(len(self.spans))) or has_brackets(_MASK.sub("", translation)):
            return None
        return _MASK.sub(lambda match: self.spans[int(match[1])], translation)


def mask(text: str, *, everything: bool = True) -> Masked:
    """Return a text with masks for all spans, or only for those that must never be sent.

    Example:
        >>> mask("Add 5 and {x}.").text
        'Add ⟦0⟧ and ⟦1⟧.'
    """
    spans: list[str] = []

    def masked(match: re.Match[str]) -> str:
        if not everything and match["unsafe"] is None and not has_brackets(match[0]):
            return match[0]
        spans.append(match[0])
        return f"⟦{len(spans) - 1}⟧"

    return Masked(_SPAN.sub(masked, text), tuple(spans))


def between_spans(text: str) -> Iterator[TextPart]:
    """Yield what is between the protected spans of a sentence, and the spans."""
    end = 0
    for match in _SPAN.finditer(text):
        yield from _sentences(text[end : match.start()])
        yield TextPart(match[0], False)
        end = match.end()
    yield from _sentences(text[end:])


def has_brackets(text: str) -> bool:
    """Return whether a text has a bracket of our masks."""
    return "⟦" in text or "⟧" in text


def survives(line: str, translation: str) -> bool:
    """Return whether every protected span of a whole line, labels included, is in another."""
    return survival(line, translation) == 1


def keeps_spans(text: str, translation: str) -> bool:
    """Return whether every protected span of a text is in its translation, as often as there.

    A backtick more or less would make code of what is not, to the end of the text.
    """
    if text.count("`") != translation.count("`"):
        return False
    before = Counter(match[0] for match in _SPAN.finditer(text))
    after = Counter(match[0] for match in _SPAN.finditer(translation))
    # Overlapping spans, such as an address that begins within another, are found otherwise there.
    return before <= after and survival(text, translation, _WITHIN_SENTENCES) == 1
