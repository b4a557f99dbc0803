"""Spans that a conjugation should leave alone: labels, numbers, code, URLs, placeholders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.conjugations.text import TextConjugation

_LABEL_WORD = r"[ \t]*+[^\W\d_][\w\u0300-\u036f]*+"
_LABEL_SO_FAR = re.compile(rf"\n?{_LABEL_WORD}")

# Tried in this order where two could start at the same place. A label takes the line break before
# it along, so that it is still found at the start of a line when that break's text is rewritten.
PATTERNS: Mapping[str, str] = MappingProxyType(
    {
        "code": r"```.*?```|`[^`\n]+`",
        "urls": r"https?://[^\s`]*[\w/#=&+-]",
        "labels": rf"(?:\A|\n){_LABEL_WORD}[ \u00a0]?:(?!//)",
        "placeholders": r"\{\{?\w++\}?\}",
        "numbers": r"(?<!\w)\d++(?:[.,]\d++)*(?!\w)",
    }
)
"""Kinds of spans to the regular expressions that find them."""


class Protected(TextConjugation):
    """A conjugation of everything but certain spans, which stay as they are.

    The inverse looks for the spans again, in the answer. It is exact where these are sure to be
    the same: for the kinds that the conjugation inside names as its ``kept_spans``.

    Args:
        inner: Applied to each piece of text between the spans.
        kinds: Which spans, of the keys of :data:`PATTERNS`; all of them by default.

    Raises:
        UserError: No kind of that name.

    Example:
        >>> from palimpsest.lm.conjugations.leet import Leet
        >>> Protected(Leet(), ("labels", "placeholders")).apply("Input: Say {it} at once.")
        'Input: S4y {it} 47 0nc3.'
    """

    local = False  # a backtick far away decides what is conjugated

    def __init__(self, inner: TextConjugation, kinds: Iterable[str] = tuple(PATTERNS)) -> None:
        self.inner = inner
        wanted = set(kinds)
        for kind in sorted(wanted - set(PATTERNS)):
            raise UserError(
                f"No kind of span named '{kind}'.{did_you_mean(kind, PATTERNS)}",
                hint=f"The kinds are: {', '.join(PATTERNS)}. Join several with '+'.",
            )
        self.kinds = tuple(kind for kind in PATTERNS if kind in wanted)
        listed = "" if self.kinds == tuple(PATTERNS) else "," + "+".join(self.kinds)
        self.name = f"protect({inner.name}{listed})"
        self.batched = inner.batched
        self.rephrases = inner.rephrases
        self.growth = inner.growth
        self.exact = inner.exact and wanted <= inner.kept_spans
        self.keeps = "everything" if self.exact else self._keeps()

    def _keeps(self) -> str:
        ambiguous = (
            "everything, unless rewritten text looks like a protected span "
            f"({', '.join(self.kinds)})"
        )
        return ambiguous if self.inner.exact else f"protected spans; else {self.inner.keeps}"

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The conjugation inside, and the kinds of spans."""
        return {"inner": self.inner.fingerprint, "kinds": list(self.kinds)}

    def apply(self, prompt: str) -> str:
        """Return the prompt with everything but the spans conjugated."""
        pieces = _pieces(prompt, self.kinds)
        return "".join(self.inner.apply(free) + span for free, span in pieces)

    def invert(self, answer: str) -> str:
        """Return the answer with everything but the spans inverted."""
        pieces = _pieces(answer, self.kinds)
        return "".join(self.inner.invert(free) + span for free, span in pieces)

    def prepare(self, *, prompts: Sequence[str] = (), answers: Sequence[str] = ()) -> None:
        """Prepare the conjugation inside for every piece."""
        self.inner.prepare(prompts=self._free(prompts), answers=self._free(answers))

    def flags(self, prompt: str) -> tuple[str, ...]:
        """Return the flags of every piece, each once."""
        found = (flag for piece in self._free([prompt]) for flag in self.inner.flags(piece))
        return tuple(dict.fromkeys(found))

    def answer_flags(self, answer: str) -> tuple[str, ...]:
        """Return the flags of every piece, each once."""
        found = (flag for piece in self._free([answer]) for flag in self.inner.answer_flags(piece))
        return tuple(dict.fromkeys(found))

    def likeness(self, word: str) -> float | None:
        """Say nothing of plain words: they may stand in a span."""
        return 1.0 if self.inner.likeness(word) == 1.0 else None

    def notes(self) -> tuple[str, ...]:
        """Return the notes of the conjugation inside."""
        return self.inner.notes()

    def facts(self) -> Mapping[str, str]:
        """Return the facts of the conjugation inside."""
        return self.inner.facts()

    def _free(self, texts: Iterable[str]) -> list[str]:
        return [piece.free for text in texts for piece in _pieces(text, self.kinds)]

    def certain(self, partial: str) -> str:
        """Return what is certain up to the last white space, or to a backtick left open."""
        done = []
        *closed, (tail, _) = _pieces(_settled(partial), self.kinds)
        for free, span in closed:
            if "code" in self.kinds and "`" in free:
                tail = free
                break
            done.append(self.inner.invert(free) + span)
        if "code" in self.kinds:
            tail = tail.partition("`")[0]
        return "".join(done) + self.inner.certain(tail)


class Piece(NamedTuple):
    """Free text and the protected span after it."""

    free: str
    span: str


@cache
def _pattern(kinds: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(PATTERNS[kind] for kind in kinds), re.DOTALL)


def _pieces(text: str, kinds: tuple[str, ...]) -> Iterator[Piece]:
    """Yield the text in pieces; the last one has no span after it."""
    end = 0
    for match in _pattern(kinds).finditer(text):
        yield Piece(text[end : match.start()], match[0])
        end = match.end()
    yield Piece(text[end:], "")


def _settled(text: str) -> str:
    """Return the text up to where a span that is not code may still grow.

    None of them reaches over white space, except a label that begins with it, or has a space
    before its colon.
    """
    if not text[-1:].isspace():
        text = text.removesuffix((text.rsplit(maxsplit=1) or [""])[-1])
    text = text.rstrip()
    last_line = max(text.rfind("\n"), 0)
    return text[:last_line] if _LABEL_SO_FAR.fullmatch(text, last_line) else text


def survival(prompt: str, conjugated: str, kinds: Iterable[str] = tuple(PATTERNS)) -> float:
    """Return the share of a prompt's protected spans that its conjugated form still has.

    One span counts as often as it occurs. A prompt without any has lost none: 1.

    Example:
        >>> survival("Add 5 and 7 to {x}.", "Ajoute 5 et sept à {x}.")
        0.6666666666666666
    """
    wanted = tuple(kinds)
    before = Counter(span.strip() for _, span in _pieces(prompt, wanted) if span)
    after = Counter(span.strip() for _, span in _pieces(conjugated, wanted) if span)
    return (before & after).total() / before.total() if before else 1.0
