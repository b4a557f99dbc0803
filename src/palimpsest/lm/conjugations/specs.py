"""Specs of conjugations as the user types them: ``leet|upper``, ``translate:es``."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.conjugations.spans import Protected
from palimpsest.lm.conjugations.text import TextChain, TextConjugation
from palimpsest.lm.conjugations.translate import Translate
from palimpsest.lm.text_cache import TextCache, cache_path
from palimpsest.lm.translators import (
    Translator,
    checked,
    is_language,
    load_translator,
)
from palimpsest.registry import Registry
from palimpsest.specs import split_outside

_HERE = "palimpsest.lm.conjugations"
_DEFAULT_TRANSLATOR = "apertium"

CONJUGATIONS = Registry[Callable[[], TextConjugation]](
    "conjugation",
    {
        "identity": f"{_HERE}.simple:Identity",
        "leet": f"{_HERE}.leet:Leet",
        "pig-latin": f"{_HERE}.pig_latin:PigLatin",
        "leet-paper": f"{_HERE}.paper:LeetPaper",
        "pig-latin-paper": f"{_HERE}.paper:PigLatinPaper",
        "upper": f"{_HERE}.simple:Upper",
        "rot13": f"{_HERE}.simple:Rot13",
        "base64": f"{_HERE}.simple:Base64",
        "reverse-words": f"{_HERE}.simple:ReverseWords",
    },
)
"""Names to classes, each built without arguments; plugins use ``palimpsest.conjugations``."""


def parse_conjugation(spec: str, *, source_language: str = "en") -> TextConjugation:
    """Return the conjugation that a spec describes; the same spec gives the same object.

    A spec is one or more links joined by ``|``, applied from left to right. Links that do nothing
    are left out of a chain. A language's code is short for the translation into it, with Apertium:
    ``fr`` for ``translate:fr@apertium``.

    Args:
        spec: What the user typed.
        source_language: The language of the prompts, for translations that do not name it.

    Raises:
        UserError: An empty link, an unknown name, or parentheses that do not match.

    Example:
        >>> parse_conjugation("leet | upper").name
        'leet|upper'
        >>> parse_conjugation("leet|uper")
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: No conjugation named 'uper'. Did you mean 'upper'?
        List them with: palimpsest list conjugations
    """
    return _parse(spec, source_language)


@lru_cache(maxsize=1024)
def _parse(spec: str, source_language: str) -> TextConjugation:
    links = [parse_link(link, source_language=source_language) for link in split_links(spec)]
    working = tuple(link for link in links if not link.changes_nothing) or (links[0],)
    return working[0] if len(working) == 1 else TextChain(working)


def split_links(spec: str, separator: str = "|") -> list[str]:
    """Split a spec at the separators outside parentheses.

    Raises:
        UserError: An empty link, or parentheses that do not match.

    Example:
        >>> split_links("protect(leet|upper,urls) | rot13")
        ['protect(leet|upper,urls)', 'rot13']
    """
    try:
        links = [link.strip() for link in split_outside(spec, separator)]
    except ValueError:
        raise UserError(
            f"The parentheses in the conjugation '{spec}' do not match.", hint=_EXAMPLE
        ) from None
    if not all(links):
        raise UserError(f"The conjugation '{spec}' has an empty link.", hint=_EXAMPLE)
    return links


_EXAMPLE = "Write links with a bar between, such as: leet|upper or protect(leet,urls+numbers)"


def parse_link(link: str, *, source_language: str = "en") -> TextConjugation:
    """Return the conjugation of one link."""
    if is_translation(link):
        return _translate(link, source_language)
    name, parenthesis, rest = link.partition("(")
    name = name.strip()
    if name == "protect":
        return _protect(link, rest, source_language)
    if parenthesis:
        raise UserError(
            f"'{link}' is no conjugation: of all names, only 'protect' takes parentheses."
            f"{did_you_mean(name, ['protect'])}",
            hint=_EXAMPLE,
        )
    return build(name)


def is_translation(link: str) -> bool:
    """Return whether a link stands for a translation: ``translate:es``, or a language's code.

    Example:
        >>> [is_translation(link) for link in ("translate:es", "es", "pt-BR", "leet", "xx")]
        [True, True, True, False, False]
    """
    name = link.partition(":")[0].strip()
    return name == "translate" or (link not in CONJUGATIONS and is_language(link))


def _translate(link: str, source_language: str) -> TextConjugation:
    languages, at, wanted = link.strip().partition("@")
    codes = [code.strip() for code in languages.split(":")]
    codes = codes[1:] if codes[0] == "translate" else codes
    if len(codes) not in {1, 2} or not all(codes) or (at and not wanted.strip()):
        raise UserError(
            f"'{link}' is not complete: 'translate' takes one language, or two.",
            hint="Write translate:TARGET or translate:SOURCE:TARGET, perhaps with @TRANSLATOR: "
            "translate:es@apertium",
        )
    source, target = (source_language, codes[0]) if len(codes) == 1 else codes
    translator = _translator(wanted.strip() or _DEFAULT_TRANSLATOR)
    english = checked(source) == checked(source_language) == "en"
    named = checked(target) if english else f"{checked(source)}:{checked(target)}"
    return Translate(
        translator,
        source=source,
        target=target,
        cache=_cache(cache_path("translations")),
        name=f"translate:{named}@{translator.spec}",
    )


@lru_cache(maxsize=64)
def _translator(spec: str) -> Translator:
    """Return one translator for all conjugations that use it, and so one set of its programs."""
    return load_translator(spec)


@lru_cache(maxsize=8)
def _cache(path: Path | None) -> TextCache:
    return TextCache(path)


def _protect(link: str, rest: str, source_language: str) -> TextConjugation:
    arguments = split_links(rest[:-1], ",") if rest.endswith(")") and rest != ")" else []
    if len(arguments) not in {1, 2}:
        raise UserError(
            f"'{link}' is not complete: 'protect' takes a conjugation and kinds of spans.",
            hint=_EXAMPLE,
        )
    inner = parse_conjugation(arguments[0], source_language=source_language)
    if len(arguments) == 1:
        return Protected(inner)
    return Protected(inner, [kind.strip() for kind in arguments[1].split("+")])


def build(name: str) -> TextConjugation:
    """Return a new conjugation by its registered name.

    Raises:
        UserError: No such name, or a plugin that offers something else under it.
    """
    conjugation = CONJUGATIONS.get(name)()
    if not isinstance(conjugation, TextConjugation):
        raise UserError(
            f"The plugin for the conjugation '{name}' offers a "
            f"{type(conjugation).__name__}, which is no TextConjugation.",
            hint="See docs/adding/conjugation.md.",
        )
    return conjugation
