"""The translator ``deepl``: the DeepL service, through its own package."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from palimpsest.errors import MissingExtraError
from palimpsest.lm.network import bare_url
from palimpsest.lm.translators.languages import base_language, canonical
from palimpsest.lm.translators.translator import TranslationError, Translator
from palimpsest.specs import Spec

if TYPE_CHECKING:
    from deepl import DeepLClient, DeepLException

KEY = "DEEPL_AUTH_KEY"
"""The environment variable with the key."""

_N_AT_ONCE = 50  # the service takes no more

# As targets, these need a region.
_REGIONS = {"en": "EN-US", "pt": "PT-PT"}


class DeepL:
    """The DeepL service, or one that speaks its protocol.

    Args:
        url: Another server than DeepL's own.
    """

    def __init__(self, *, url: str | None = None) -> None:
        self.spec = f"deepl:{bare_url(url)}" if url else "deepl"
        self._url = url
        self._lock = Lock()
        self._client: DeepLClient | None = None

    def version(self, source: str, target: str) -> str:
        """Return all that the service says of itself: it has no releases."""
        return f"DeepL API v2{f' at {bare_url(self._url)}' if self._url else ''}"

    def describe(self, source: str, target: str) -> Mapping[str, str]:
        """Return what is known of the service."""
        return {
            "translator": "deepl",
            "version": f"{self.version(source, target)}, which changes without notice",
            "licence": "proprietary service",
        }

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Return the translation of every text."""
        client = self._open()
        import deepl

        tag = canonical(target)
        answers: list[str] = []
        for start in range(0, len(texts), _N_AT_ONCE):
            batch = list(texts[start : start + _N_AT_ONCE])
            try:
                results = client.translate_text(
                    batch,
                    source_lang=base_language(source).upper(),
                    target_lang=_REGIONS.get(tag, tag.upper()),
                    preserve_formatting=True,
                )
            except deepl.DeepLException as error:
                raise self._explained(error) from None  # its text may quote the request
            except (TypeError, ValueError, KeyError, AttributeError):
                raise TranslationError(
                    "DeepL answered something that is no translation.",
                    hint="If you named a server, does it speak DeepL's protocol?",
                ) from None
            answers += [each.text for each in (results if isinstance(results, list) else [results])]
        return answers

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client is not None:
                cast(Any, self._client).close()
                self._client = None

    def _open(self) -> DeepLClient:
        key = os.environ.get(KEY)
        if not key:
            raise TranslationError(
                f"DeepL wants a key, and the environment variable {KEY} is not set.",
                hint=f"Get one at deepl.com/pro-api, then: export {KEY}=…",
            )
        try:
            import deepl
        except ImportError as error:
            raise MissingExtraError(
                "Translations by DeepL", package="deepl", extra="deepl"
            ) from error
        with self._lock:
            if self._client is None:
                self._client = deepl.DeepLClient(
                    key, server_url=self._url, send_platform_info=False
                )
            return self._client

    def _explained(self, error: DeepLException) -> TranslationError:
        import deepl

        if isinstance(error, deepl.AuthorizationException):
            return TranslationError(
                f"DeepL does not accept the key in {KEY}.", hint="Look it up at deepl.com."
            )
        if isinstance(error, deepl.QuotaExceededException):
            return TranslationError(
                "The characters that DeepL translates with this key are used up.",
                hint="Wait for the next month, or use another translator.",
            )
        if isinstance(error, deepl.TooManyRequestsException):
            return TranslationError(
                "DeepL allows no more requests for now.",
                hint="Wait and run the same command again: what was translated is kept.",
            )
        if isinstance(error, deepl.ConnectionException):
            return TranslationError(
                "DeepL does not answer.", hint="Look at the network, or name a server: deepl:URL"
            )
        said = str(error).partition("\n")[0][:300].replace(os.environ.get(KEY, "\0"), "…")
        return TranslationError(
            f"DeepL did not translate: {said}.", hint="Does it have the languages?"
        )


def load(spec: Spec) -> Translator:
    """The DeepL service, with the key in DEEPL_AUTH_KEY."""
    spec.allow([])
    return DeepL(url=spec.target or None)
