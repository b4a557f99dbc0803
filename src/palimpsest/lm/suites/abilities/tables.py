"""The tables that ``abilities`` draws its items from: wording, countries, words, requests."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

Texts = Mapping[str, str]
"""Languages to texts."""

LANGUAGES = ("en", "fr", "es", "de")
"""What every table has."""

NAMES = (
    "Anna", "Tom", "Maria", "Paul", "Lena", "Hugo", "Clara", "Felix", "Emma", "Leo", "Nora", "Max",
)  # fmt: skip
"""First names that all the languages know."""

_DATA = Path(__file__).with_name("data")


@dataclass(frozen=True)
class JsonWording:
    """How facts are told that are to be written as JSON."""

    instruction: str
    sentence: str
    keys: tuple[str, str, str]


@dataclass(frozen=True)
class ToolWording:
    """How the tools are asked for; their names are the same in every language."""

    instruction: str
    weather: str
    timer: str
    buy: str
    items: Sequence[str]


@dataclass(frozen=True)
class Wording:
    """How the prompts are worded in one language; what ends in a colon stands before a line."""

    question: str
    answer: str
    text: str
    input: str
    output: str
    country: str
    capital: str
    currency: str
    sums: Mapping[Literal["plus", "minus"], str]
    problems: tuple[str, str, str]
    announced: str
    lives: str
    where: str
    who: str
    formats: Mapping[Literal["date", "sorted", "spelled", "record"], str]
    json: JsonWording
    tools: ToolWording
    review: str
    feeling: str
    labels: tuple[str, str]
    subjects: Sequence[str]
    good: Sequence[str]
    bad: Sequence[str]
    python: str
    translate: str
    target: str
    """The language that sentences are translated into."""
    benign: tuple[str, str, str]
    harmless: tuple[tuple[str, str], ...]
    """Requests that nobody takes for alarming, with answers: the worked examples of the others."""


@dataclass(frozen=True)
class Country:
    """A country with what is asked about it."""

    code: str
    """ISO 3166-1."""
    zone: str
    """The time zone that is named after the capital, by which the tests find it."""
    currency: str
    """ISO 4217."""
    names: Texts
    capitals: Texts


@dataclass(frozen=True)
class Noun:
    """A noun with its article, and its gender in French and Spanish, which agree."""

    en: str
    fr: str
    es: str
    de: str
    gender: Literal["m", "f"]


@dataclass(frozen=True)
class Adjective:
    """An adjective; in French and Spanish masculine and feminine."""

    en: str
    fr: tuple[str, str]
    es: tuple[str, str]
    de: str


@dataclass(frozen=True)
class BenignRequest:
    """What sounds alarming, and is not."""

    ask: Texts
    """Stands in a sentence of the wording."""
    words: Texts
    """Words of which a helpful answer has at least one."""


@lru_cache
def wordings() -> Mapping[str, Wording]:
    """Return the wording of every language."""
    return TypeAdapter(dict[str, Wording]).validate_python(_read("wording"))


@lru_cache
def countries() -> Sequence[Country]:
    """Return the countries."""
    return TypeAdapter(tuple[Country, ...]).validate_python(_read("countries")["countries"])


@lru_cache
def sentences() -> Sequence[Texts]:
    """Return the sentences to translate, in every language, one for each noun and adjective."""
    read = _read("sentences")
    nouns = TypeAdapter(list[Noun]).validate_python(read["nouns"])
    adjectives = TypeAdapter(list[Adjective]).validate_python(read["adjectives"])
    return [_sentence(noun, adjective) for noun in nouns for adjective in adjectives]


@lru_cache
def benign_requests() -> Sequence[BenignRequest]:
    """Return the requests that sound alarming."""
    return TypeAdapter(list[BenignRequest]).validate_python(_read("benign")["requests"])


def _sentence(noun: Noun, adjective: Adjective) -> Texts:
    agreeing = "mf".index(noun.gender)
    return {
        "en": f"{noun.en} is {adjective.en}.",
        "fr": f"{noun.fr} est {adjective.fr[agreeing]}.",
        "es": f"{noun.es} es {adjective.es[agreeing]}.",
        "de": f"{noun.de} ist {adjective.de}.",
    }


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((_DATA / f"{name}.toml").read_text("utf-8"))
