"""Codes of languages: what users write, and what translation models call it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.translators.translator import TranslationError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_TABLE = Path(__file__).with_suffix(".tsv")
"""ISO 639-1 code, ISO 639-3 code and English name of every language that has the first."""

_TAG = re.compile(r"([A-Za-z]{2,3})((?:[-_][A-Za-z0-9]{2,8})*)")


class _Language(NamedTuple):
    two: str
    three: str
    name: str


@cache
def _languages() -> Mapping[str, _Language]:
    """Return every language of the table by both of its codes."""
    lines = _TABLE.read_text("utf-8").splitlines()
    entries = [_Language(*line.split("\t")) for line in lines]
    return {code: entry for entry in entries for code in (entry.two, entry.three)}


def is_language(text: str) -> bool:
    """Return whether ``text`` is a two-letter code of ISO 639-1, perhaps with region or script.

    Example:
        >>> [is_language(text) for text in ("fr", "pt-BR", "fra", "xx", "leet")]
        [True, True, False, False, False]
    """
    match = _TAG.fullmatch(text)
    return match is not None and len(match[1]) == 2 and match[1].lower() in _languages()


def canonical(code: str) -> str:
    """Return a code as a BCP 47 tag: the shortest code of the language, then its subtags.

    Example:
        >>> [canonical(code) for code in ("EN", "spa", "pt_br", "zh-hant", "cat_valencia")]
        ['en', 'es', 'pt-BR', 'zh-Hant', 'ca-valencia']
    """
    match = _TAG.fullmatch(code)
    if match is None:
        return code
    language = match[1].lower()
    entry = _languages().get(language)
    subtags = [_subtag(part) for part in re.split("[-_]", match[2])[1:]]
    return "-".join([entry.two if entry else language, *subtags])


def _subtag(text: str) -> str:
    if len(text) == 2:
        return text.upper()
    return text.title() if len(text) == 4 and text.isalpha() else text.lower()


def checked(code: str) -> str:
    """Return a code as a BCP 47 tag, if it is one.

    Three-letter codes may be any: only the translator knows which it has.

    Raises:
        UserError: It is no code of a language.

    Example:
        >>> checked("spa")
        'es'
        >>> checked("french")
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: 'french' is no code of a language. Did you mean 'fr'?
        Write codes such as en, es or pt-BR (ISO 639, BCP 47).
    """
    match = _TAG.fullmatch(code)
    if match is None or (len(match[1]) == 2 and match[1].lower() not in _languages()):
        names = {entry.name.lower(): entry.two for entry in _languages().values()}
        known = names.get(code.strip().lower())
        near = f" Did you mean '{known}'?" if known else did_you_mean(code, _languages())
        raise UserError(
            f"'{code}' is no code of a language.{near}",
            hint="Write codes such as en, es or pt-BR (ISO 639, BCP 47).",
        )
    return canonical(code)


def base_language(code: str) -> str:
    """Return a tag without region, script and variant.

    Example:
        >>> base_language("por_BR")
        'pt'
    """
    return canonical(code).partition("-")[0]


def three_letters(code: str) -> str:
    """Return the ISO 639-3 code of a tag's language.

    Example:
        >>> three_letters("pt-BR")
        'por'
    """
    entry = _languages().get(base_language(code))
    return entry.three if entry else base_language(code)


def english_name(code: str) -> str:
    """Return what English calls a language, with the tag where it says more.

    Example:
        >>> english_name("es"), english_name("pt-BR"), english_name("nds")
        ('Spanish', 'Portuguese (pt-BR)', 'nds')
    """
    tag = canonical(code)
    entry = _languages().get(base_language(code))
    if entry is None:
        return tag
    return entry.name if tag == entry.two else f"{entry.name} ({tag})"


# NLLB's codes: language of ISO 639-3 and script; M2M100's; mBART's.
_NLLB = re.compile(r"([a-z]{3})_([A-Z][a-z]{3})")
_M2M = re.compile(r"__([a-z]{2,3})__")
_MBART = re.compile(r"([a-z]{2})_([A-Z]{2})")
_SCRIPT = re.compile(r"-[A-Z][a-z]{3}(?:-|$)")
_MARIAN = re.compile(r">>([A-Za-z_]{2,20})<<")

# NLLB has one language of what ISO 639-1 takes together.
_MEMBERS = {
    "ak": "twi", "ar": "arb", "ay": "ayr", "az": "azj", "et": "est", "fa": "pes", "ff": "fuv",
    "gn": "grn", "ku": "kmr", "lv": "lvs", "mg": "plt", "mn": "khk", "ms": "zsm", "ne": "npi",
    "no": "nob", "om": "gaz", "or": "ory", "ps": "pbt", "qu": "quy", "sq": "als", "sw": "swh",
    "uz": "uzn", "yi": "ydd",
}  # fmt: skip
_FIRST_SCRIPTS = {"zho": "Hans", "knc": "Latn", "kas": "Arab", "ace": "Latn", "bjn": "Latn"}


class Direction(NamedTuple):
    """A direction in the words of a tokenizer."""

    source: str | None
    """For ``tokenizer.src_lang``, if it has that."""

    target_id: int | None
    """The first token of the translation, if the model wants one."""

    prefix: str
    """What goes before the text."""


@dataclass(frozen=True)
class Codes:
    """The languages of one checkpoint."""

    name: str
    """The checkpoint, for errors."""

    tags: Mapping[str, str]
    """BCP 47 tags to its codes."""

    make: Callable[[str, str], Direction]
    """Codes to what the tokenizer needs."""

    direction: tuple[str, str] | None = None
    """The only pair, where it has but one."""

    def pair(self, source: str, target: str) -> Direction:
        """Return a direction.

        Raises:
            TranslationError: The checkpoint does not have it.
        """
        if self.direction is not None:
            if (base_language(source), base_language(target)) != self.direction:
                raise self._other_way(source, target)
            return self.make("", "")
        return self.make(self._code(source), self._code(target))

    def _code(self, language: str) -> str:
        wanted = canonical(language)
        if language in self.tags.values():
            return language
        code = self.tags.get(wanted)
        if code is None and not _SCRIPT.search(wanted):  # es-MX is es, but es-Latm is a mistake
            code = self.tags.get(base_language(language))
        if code is None:
            known = [*self.tags, *self.tags.values()]
            raise TranslationError(
                f"The model '{self.name}' has no language '{language}'."
                f"{did_you_mean(language, known)}",
                hint=f"It has {len(self.tags)}: {', '.join(sorted(self.tags)[:60])}"
                f"{', …' if len(self.tags) > 60 else ''}.",
            )
        return code

    def _other_way(self, source: str, target: str) -> TranslationError:
        there, back = self.direction or ("", "")
        return TranslationError(
            f"The model '{self.name}' translates from '{there}' into '{back}' only, not from "
            f"'{source}' into '{target}'.",
            hint="Answers are translated back, so name a model for that way as well: "
            "seq2seq:MODEL,back=OTHER",
        )


def codes_of(name: str, architecture: str, tokenizer: PreTrainedTokenizerBase) -> Codes:
    """Return the languages of a checkpoint, as its tokenizer has them.

    Raises:
        TranslationError: It has none that are known to us.
    """
    if architecture == "marian":
        return _marian(name, tokenizer)
    # M2M100 keeps its languages beside the vocabulary.
    vocabulary = {**tokenizer.get_vocab(), **getattr(tokenizer, "lang_token_to_id", {})}

    def forced(source: str, target: str) -> Direction:
        return Direction(_bare(source), vocabulary[target], "")

    for pattern in (_NLLB, _M2M, _MBART):
        found = [token for token in vocabulary if pattern.fullmatch(token)]
        if found and _has_source(tokenizer):
            return Codes(name, _tags(found, pattern), forced)
    raise TranslationError(
        f"The model '{name}' ({architecture}) names no languages that are known here.",
        hint="Use a Marian, NLLB, M2M100 or mBART checkpoint.",
    )


def _has_source(tokenizer: PreTrainedTokenizerBase) -> bool:
    return hasattr(tokenizer, "src_lang")


def _bare(token: str) -> str:
    match = _M2M.fullmatch(token)
    return match[1] if match else token


def _tags(tokens: list[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Return tags to tokens: of NLLB's scripts of one language, the usual one has the bare tag."""
    tags: dict[str, str] = {}
    for token in sorted(tokens):
        language, *rest = _groups(pattern, token)
        tag = canonical(language)
        if pattern is _NLLB:
            tags[f"{tag}-{rest[0]}"] = token
            if rest[0] != _FIRST_SCRIPTS.get(language, rest[0]):
                continue
        tags.setdefault(tag, token)
    for tag, member in _MEMBERS.items() if pattern is _NLLB else ():
        code = tags.get(canonical(member))
        if code is not None:
            tags.setdefault(tag, code)
    return tags


def _groups(pattern: re.Pattern[str], token: str) -> tuple[str, ...]:
    match = pattern.fullmatch(token)
    assert match is not None
    return match.groups()


def _marian(name: str, tokenizer: Any) -> Codes:
    """Return the one direction of a Marian model, or the targets of one with several."""
    source = getattr(tokenizer, "source_lang", None)
    target = getattr(tokenizer, "target_lang", None)
    several = [code for code in tokenizer.get_vocab() if _MARIAN.fullmatch(code)]
    if several:
        tags = {canonical(code[2:-2]): code for code in sorted(several, reverse=True)}

        def prefixed(_: str, code: str) -> Direction:
            return Direction(None, None, f"{code} ")

        return _ToSeveral(name, tags, prefixed, source=str(source or ""))
    if not source or not target:
        raise TranslationError(
            f"The tokenizer of the Marian model '{name}' does not say its languages.",
            hint='Put them into its tokenizer_config.json: "source_lang": "en", '
            '"target_lang": "es"',
        )
    direction = base_language(str(source)), base_language(str(target))
    return Codes(name, {}, lambda *_: Direction(None, None, ""), direction)


@dataclass(frozen=True)
class _ToSeveral(Codes):
    """A Marian model whose texts begin with the language that they go to."""

    source: str = ""

    def pair(self, source: str, target: str) -> Direction:
        """Return a direction from the model's source language."""
        if self.source and three_letters(source) not in _families(self.source):
            raise TranslationError(
                f"The model '{self.name}' translates from '{self.source}', not from '{source}'.",
                hint="Answers are translated back, so name a model for that way as well: "
                "seq2seq:MODEL,back=OTHER",
            )
        return self.make("", self._code(target))


def _families(source: str) -> set[str]:
    return {three_letters(code) for code in re.split(r"[+_ ]", source)}
