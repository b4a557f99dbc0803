"""Translators: what one offers, and the registry by whose names users call them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from palimpsest.errors import UserError
from palimpsest.registry import Registry
from palimpsest.specs import Spec, parse_spec


class TranslationError(UserError):
    """A translator that cannot be used, or that failed; nothing of the request is kept."""


class Translator(Protocol):
    """A translator between languages given as BCP 47 tags, such as ``en`` or ``pt-BR``.

    Making one does nothing: no process, request or weights before they are needed. All methods may
    be called from several threads.
    """

    @property
    def spec(self) -> str:
        """The text that names it, such as ``apertium``; without any secret."""

    def version(self, source: str, target: str) -> str:
        """Return what, beside the text, determines the translations of a pair of languages.

        It is part of fingerprints and of the cache's keys: another engine, release, model or
        dictionary is another version. Without secrets.

        Raises:
            TranslationError: There is no such pair, or the translator is not there.
        """

    def describe(self, source: str, target: str) -> Mapping[str, str]:
        """Return facts for the report: ``translator``, ``version``, ``licence`` and others.

        Raises:
            TranslationError: There is no such pair, or the translator is not there.
        """

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Return the translation of every text, in order.

        Texts are single lines with at least one letter. A text that this translator cannot
        translate, though it works for others, becomes the empty string; callers flag it.

        Raises:
            TranslationError: It failed as a whole; it may be asked again later.
        """

    def close(self) -> None:
        """End processes and connections; they start again if it is asked once more."""


_HERE = "palimpsest.lm.translators"

TRANSLATORS: Registry[Callable[[Spec], Translator]] = Registry(
    "translator",
    {
        "apertium": f"{_HERE}.apertium:load",
        "libretranslate": f"{_HERE}.libretranslate:load",
        "seq2seq": f"{_HERE}.seq2seq:load",
        "deepl": f"{_HERE}.deepl:load",
        "model": f"{_HERE}.model:load",
    },
)
"""Names to functions of a :class:`Spec`; plugins use ``palimpsest.translators``."""


def load_translator(spec: str) -> Translator:
    """Return the translator that ``NAME[:TARGET][,key=value…]`` describes.

    Nothing is started, opened or asked yet.

    Raises:
        UserError: No such translator or option.

    Example:
        >>> load_translator("apertium").spec
        'apertium'
        >>> load_translator("apertum")
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: No translator named 'apertum'. Did you mean 'apertium'?
        List them with: palimpsest list translators
    """
    parsed = parse_spec(spec, TRANSLATORS)
    return TRANSLATORS.get(parsed.name)(parsed)
