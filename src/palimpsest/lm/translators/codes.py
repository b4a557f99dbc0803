"""What the tokenizers of translation models call their languages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from palimpsest.errors import did_you_mean
from palimpsest.lm.translators.languages import (
    base_language,
    canonical,
    three_letters,
)
from palimpsest.lm.translators.protocol import TranslationError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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


class Pair(NamedTuple):
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

    make: Callable[[str, str], Pair]
    """Codes to what the tokenizer needs."""

    direction: tuple[str, str] | None = None
    """The only pair, where it has but one."""

    def pair(self, source: str, target: str) -> Pair:
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

    def forced(source: str, target: str) -> Pair:
        return Pair(_bare(source), vocabulary[target], "")

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

        def prefixed(_: str, code: str) -> Pair:
            return Pair(None, None, f"{code} ")

        return _ToSeveral(name, tags, prefixed, source=str(source or ""))
    if not source or not target:
        raise TranslationError(
            f"The tokenizer of the Marian model '{name}' does not say its languages.",
            hint='Put them into its tokenizer_config.json: "source_lang": "en", '
            '"target_lang": "es"',
        )
    direction = base_language(str(source)), base_language(str(target))
    return Codes(name, {}, lambda *_: Pair(None, None, ""), direction)


@dataclass(frozen=True)
class _ToSeveral(Codes):
    """A Marian model whose texts begin with the language that they go to."""

    source: str = ""

    def pair(self, source: str, target: str) -> Pair:
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
