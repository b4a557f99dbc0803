"""The parallel grammar behind Rosetta: one world, told in several languages.

Every sentence is a :class:`Fact` (subject, number, predicate, place, time) that is rendered in
each language. The facts, and the pairs of numbers that are added, are dealt once and for all into
three splits by a stable hash, the same for every language: nothing that is measured was trained.
"""

from __future__ import annotations

import hashlib
import itertools
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict

Split = Literal["train", "select", "report"]
Task = Literal["repeat", "capitalise", "answer"]

Language = Literal["en", "fr", "es", "nl", "de", "leet", "pig-latin"]

NATURAL_LANGUAGES: tuple[Language, ...] = ("en", "fr", "es", "nl", "de")
REWRITTEN_LANGUAGES: tuple[Language, ...] = ("leet", "pig-latin")
"""English under a text conjugation."""

LANGUAGES = (*NATURAL_LANGUAGES, *REWRITTEN_LANGUAGES)

BLANK = "_____"
"""Stands for the missing first word of a sentence."""

SMALLEST_ADDEND, LARGEST_ADDEND = 2, 15


class Subject(BaseModel):
    """A subject with the predicates that belong to it alone."""

    model_config = ConfigDict(extra="allow")
    predicates: list[dict[str, tuple[str, str, str]]]

    def forms(self, language: str) -> tuple[str, str, str, str]:
        """Return singular article and noun, plural article (perhaps empty) and noun."""
        assert self.__pydantic_extra__ is not None
        first, second, third, fourth = self.__pydantic_extra__[language]
        return first, second, third, fourth


class TuningTemplates(BaseModel):
    """What the English instruction set says beyond the pretraining corpus."""

    model_config = ConfigDict(extra="forbid")
    lines: list[str]
    difference: str
    who: str


class Lexicon(BaseModel):
    """The words and templates of ``lexicon.toml``; dictionaries are keyed by language."""

    model_config = ConfigDict(extra="forbid")
    languages: list[str]
    subjects: list[Subject]
    places: list[dict[str, str]]
    times: list[dict[str, str]]
    labels: dict[str, tuple[str, str]]
    tasks: dict[Task, dict[str, str]]
    questions: dict[str, str]
    tuning: TuningTemplates


@cache
def lexicon() -> Lexicon:
    """Return the lexicon that comes with the package."""
    text = files("palimpsest.rosetta").joinpath("lexicon.toml").read_text("utf-8")
    return Lexicon.model_validate(tomllib.loads(text))


@dataclass(frozen=True)
class Fact:
    """What a sentence says, apart from any language; every field indexes the lexicon."""

    subject: int
    plural: bool
    predicate: int
    place: int
    time: int

    def render(self, language: str) -> str:
        """Return the sentence in a natural language.

        Example:
            >>> Fact(0, False, 0, 1, 1).render("en")
            'The baker sells fresh bread at the market every day.'
            >>> Fact(0, True, 0, 1, 1).render("de")
            'Bäcker verkaufen jeden Tag frisches Brot auf dem Markt.'
        """
        words = lexicon()
        subject = words.subjects[self.subject]
        forms = subject.forms(language)
        article, noun = forms[2:] if self.plural else forms[:2]
        singular, plural, object_ = subject.predicates[self.predicate][language]
        verb = plural if self.plural else singular
        place, time = words.places[self.place][language], words.times[self.time][language]
        # German and Dutch put the time before the object; the others end on it.
        middle = [time, object_, place] if language in ("de", "nl") else [object_, place, time]
        text = " ".join(part for part in [article, noun, verb, *middle] if part)
        return text[0].upper() + text[1:] + "."


def blank_first_word(sentence: str) -> tuple[str, str]:
    """Replace the first word by :data:`BLANK`; return the query and the missing word.

    The blank is always as long, so that it says nothing about the word.

    Example:
        >>> blank_first_word("Cows eat grass.")
        ('_____ eat grass.', 'Cows')
    """
    word, _, rest = sentence.partition(" ")
    return f"{BLANK} {rest}", word


@cache
def facts(split: Split) -> tuple[Fact, ...]:
    """Return all facts of a split: eight tenths train, one tenth each select and report."""
    words = lexicon()
    every = itertools.starmap(
        Fact,
        itertools.product(
            range(len(words.subjects)),
            (False, True),
            range(len(words.subjects[0].predicates)),
            range(len(words.places)),
            range(len(words.times)),
        ),
    )
    return tuple(fact for fact in every if _split_of(f"fact {fact}") == split)


@cache
def addends(split: Split) -> tuple[tuple[int, int], ...]:
    """Return the ordered pairs of numbers to add; a held-out pair's mirror image is trained.

    Only pairs of different numbers are held out, and never both orders of one pair: what is
    measured is whether 9 + 4 can be told from 4 + 9, not whether unseen sums are guessed.
    """
    numbers = range(SMALLEST_ADDEND, LARGEST_ADDEND + 1)
    return tuple(
        pair for pair in itertools.product(numbers, numbers) if _addend_split(*pair) == split
    )


def _addend_split(first: int, second: int) -> Split:
    if first == second:
        return "train"
    split = _split_of(f"pair {sorted((first, second))}", train_share=0.5)
    swapped = _hash(f"order {sorted((first, second))}") % 2 == 0
    return split if (first > second) == swapped else "train"


def _split_of(name: str, *, train_share: float = 0.8) -> Split:
    position = _hash(name) % 1000 / 1000
    if position < train_share:
        return "train"
    return "select" if position < (1 + train_share) / 2 else "report"


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
