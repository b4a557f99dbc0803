"""What a translator offers: many texts at once, and what determines its translations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from palimpsest.errors import UserError


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
