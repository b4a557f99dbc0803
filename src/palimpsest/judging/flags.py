"""Flags of answers, right or wrong: empty, cut off, refusals, in another language, thoughts alone.

They say what an answer looks like, not whether it is right. Refusals are recognised by the openings
of :mod:`.word_lists`; languages by their letters, and by lingua where it is installed and the text
is long enough, else by their commonest short words.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from palimpsest.judging.explanations import (
    CUT_OFF,
    EMPTY,
    LANGUAGE,
    REFUSAL,
    THOUGHT,
    TIE,
    UNJUDGED,
)
from palimpsest.judging.word_lists import FUNCTION_WORDS, REFUSALS
from palimpsest.lm import TIED, UNDECIDED, answer_start
from palimpsest.records import answer_flag

if TYPE_CHECKING:
    from lingua import LanguageDetector

_LONG_ENOUGH = 40
"""Characters from which on a language can be told with some certainty."""

_LEAST_WORDS = 2
"""Short words of a language from which on a text can be told to be in it."""

_ASCII_LETTER = re.compile("[A-Za-z]")

_LANGUAGES_OF: dict[str, tuple[str, ...]] = {
    word: tuple(name for name, words in FUNCTION_WORDS.items() if word in words)
    for listed in FUNCTION_WORDS.values()
    for word in listed
}

_SURE = 0.9
"""Share of the probability from which on a language counts as told."""


_UNDECIDED = answer_flag(UNDECIDED)


class Looks(Protocol):
    """What of an answer tells how it looks; each as in :class:`.AnswerRow`."""

    @property
    def source_id(self) -> str:
        """The source example."""

    @property
    def prompt(self) -> str:
        """As sent."""

    @property
    def raw(self) -> str:
        """The model's text."""

    @property
    def answer(self) -> str:
        """The text after inversion."""

    @property
    def right_answers(self) -> str:
        """What would be right, as a JSON list."""

    @property
    def finish(self) -> str:
        """How it ended."""

    @property
    def language(self) -> str:
        """Of the prompt."""

    @property
    def flags(self) -> str:
        """What went wrong in conjugating the prompt or inverting the answer."""


Row = TypeVar("Row", bound=Looks)


@dataclass(frozen=True)
class SeenAnswer(Generic[Row]):
    """An answer, as it is looked at."""

    row: Row
    text: str
    """What was answered, without a thought."""
    plain: Mapping[str, str]
    """The plain prompts by source."""

    @cached_property
    def prompts(self) -> str:
        """The prompt as it was sent, and as it is plainly."""
        return f"{self.row.prompt}\n{self.plain.get(self.row.source_id, '')}"


def seen_answer(row: Row, plain: Mapping[str, str]) -> SeenAnswer[Row]:
    """Return what there is to see of an answer.

    Args:
        row: The answer.
        plain: The plain prompts by source; looked at where the one that was sent tells too little.
    """
    return SeenAnswer(row, _said(row), plain)


def flags_of(seen: SeenAnswer[Any]) -> tuple[str, ...]:
    """Return what an answer looks like; nothing for most answers; of chosen ones, ties."""
    row: Looks = seen.row
    flags = row.flags.split("; ") if row.flags else ()
    if row.finish == "chosen":
        return (TIE,) if answer_flag(TIED) in flags else ()
    if row.finish == "logged" and not row.raw:
        return ()
    found = [THOUGHT] if answer_start(row.raw) is None else []
    if not seen.text.strip():
        found.append(EMPTY)
    else:
        found += [REFUSAL] if _is_refusal(seen.text) else []
        found += [LANGUAGE] if _is_foreign(seen) else []
    found += [UNJUDGED] if _UNDECIDED in flags else []
    # Of an empty one too: it may have thought in silence.
    found += [CUT_OFF] if row.finish == "length" else []
    return tuple(found)


def _said(row: Looks) -> str:
    """Return what was answered: in a log, what came before another program took a part of it."""
    if row.finish != "logged":
        return row.answer
    start = answer_start(row.raw)
    return "" if start is None else row.raw[start:]


def _is_refusal(text: str) -> bool:
    start = text.lstrip().casefold().replace("’", "'")
    return start.startswith(REFUSALS)


def _is_foreign(seen: SeenAnswer[Any]) -> bool:
    """Return whether an answer is in other letters or words than prompt and expected answers."""
    words = [word for word in seen.text.casefold().split() if word in _LANGUAGES_OF]
    counts: Mapping[str, int] = {}
    if len(words) >= _LEAST_WORDS:
        counts = Counter(language for word in words for language in _LANGUAGES_OF[word])
    told_by_words = max(counts.values(), default=0) >= _LEAST_WORDS
    told = _identified(seen.text)
    if told is None and not told_by_words:
        beside = seen.row.prompt
        if _has_letters_of(seen.text, beside) or _has_letters_of(seen.text, seen.prompts):
            return False
    beside = " ".join([seen.prompts, *json.loads(seen.row.right_answers)])
    own = seen.row.language.partition("-")[0]
    if _in_other_letters(seen.text, beside):
        return True
    if told is not None:
        return told not in (own, _identified(beside))
    if not told_by_words:
        return False
    around = set(beside.casefold().split())
    known = {name for name, listed in FUNCTION_WORDS.items() if len(listed & around) >= 2}
    known.add(own)
    most = max(counts, key=lambda name: counts[name])
    mine = max((counts.get(name, 0) for name in known), default=0)
    return most not in known and counts[most] >= _LEAST_WORDS and counts[most] > 2 * mine


def _has_letters_of(text: str, beside: str) -> bool:
    """Return whether a look is enough to see that a text is in the letters that stand beside it."""
    return text.isascii() and _ASCII_LETTER.search(beside) is not None


def _in_other_letters(text: str, beside: str) -> bool:
    """Return whether most letters of a text are of a script that stands nowhere beside it."""
    if _has_letters_of(text, beside):
        return False
    scripts = Counter(map(_script, filter(str.isalpha, text)))
    if not scripts:
        return False
    [(script, n)] = scripts.most_common(1)
    beside_it = set(map(_script, filter(str.isalpha, beside)))
    return bool(beside_it) and script not in beside_it and n > 0.5 * scripts.total()


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    name = unicodedata.name(character, "").partition(" ")[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA", "CJK") else name


@lru_cache(maxsize=4096)
def _identified(text: str) -> str | None:
    """Return the language of a text, if lingua is installed, it is long enough, and it is clear."""
    detector = _detector()
    if detector is None or len(text) < _LONG_ENOUGH:
        return None
    ranked = detector.compute_language_confidence_values(text[:1000])
    if not ranked or ranked[0].value < _SURE:
        return None
    return ranked[0].language.iso_code_639_1.name.lower()


@cache
def _detector() -> LanguageDetector | None:
    try:
        from lingua import IsoCode639_1, LanguageDetectorBuilder
    except ImportError:
        return None
    codes = [getattr(IsoCode639_1, name.upper()) for name in FUNCTION_WORDS]
    # Its high accuracy is for texts shorter than those asked here, and loads for five seconds.
    return LanguageDetectorBuilder.from_iso_codes_639_1(*codes).with_low_accuracy_mode().build()
