"""The translator ``deepl``: the DeepL service, over HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from palimpsest.lm.network import bare_url
from palimpsest.lm.translators.json_service import JsonReply, JsonService
from palimpsest.lm.translators.languages import base_language, canonical
from palimpsest.lm.translators.translator import TranslationError, Translator
from palimpsest.specs import Spec

KEY = "DEEPL_AUTH_KEY"
"""The environment variable with the key."""

_N_AT_ONCE = 50  # the service takes no more

# As targets, these need a region.
_REGIONS = {"en": "EN-US", "pt": "PT-PT"}


class DeepL:
    """The DeepL service, or one that speaks its protocol.

    Args:
        url: Another server than DeepL's own.
        n_attempts: How often a request is sent at most.
        timeout_seconds: For one request.
    """

    def __init__(
        self, *, url: str | None = None, n_attempts: int = 4, timeout_seconds: float = 60.0
    ) -> None:
        self.spec = f"deepl:{bare_url(url)}" if url else "deepl"
        self._url = url
        self._n_attempts = n_attempts
        self._timeout_seconds = timeout_seconds
        self._service: JsonService | None = None

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
        key = os.environ.get(KEY)
        if not key:
            raise TranslationError(
                f"DeepL wants a key, and the environment variable {KEY} is not set.",
                hint=f"Get one at deepl.com/pro-api, then: export {KEY}=…",
            )
        tag = canonical(target)
        answers: list[str] = []
        for start in range(0, len(texts), _N_AT_ONCE):
            batch = list(texts[start : start + _N_AT_ONCE])
            body = {
                "text": batch,
                "source_lang": base_language(source).upper(),
                "target_lang": _REGIONS.get(tag, tag.upper()),
                "preserve_formatting": True,
            }
            authorization = {"Authorization": f"DeepL-Auth-Key {key}"}
            reply = self._open(key).ask("/v2/translate", body, headers=authorization)
            answers += _translated(reply, len(batch), key)
        return answers

    def close(self) -> None:
        """Close the connections."""
        if self._service is not None:
            self._service.close()

    def _open(self, key: str) -> JsonService:
        if self._service is None:
            # Keys of the free plan say so, and are known at a server of their own.
            own = "https://api-free.deepl.com" if key.endswith(":fx") else "https://api.deepl.com"
            self._service = JsonService(
                self._url or own,
                name="DeepL",
                n_attempts=self._n_attempts,
                timeout_seconds=self._timeout_seconds,
            )
        return self._service


def _translated(reply: JsonReply, n: int, key: str) -> list[str]:
    value = reply.value if isinstance(reply.value, dict) else {}
    if reply.status == 200:
        match value.get("translations"):
            case list(entries) if len(entries) == n:
                texts = [entry.get("text") for entry in entries if isinstance(entry, dict)]
                if len(texts) == n and all(isinstance(text, str) for text in texts):
                    return [str(text) for text in texts]
        raise TranslationError(
            "DeepL answered something that is no translation.",
            hint="If you named a server, does it speak DeepL's protocol?",
        )
    known = {
        403: (f"DeepL does not accept the key in {KEY}.", "Look it up at deepl.com."),
        429: (
            "DeepL allows no more requests for now.",
            "Wait and run the same command again: what was translated is kept.",
        ),
        456: (
            "The characters that DeepL translates with this key are used up.",
            "Wait for the next month, or use another translator.",
        ),
    }
    said = " ".join(str(value.get("message") or "no reason given")[:300].split()).replace(key, "…")
    other = f"DeepL did not translate: status {reply.status}, {said}."
    message, hint = known.get(reply.status, (other, "Does it have the languages?"))
    raise TranslationError(message, hint=hint)


def load(spec: Spec) -> Translator:
    """The DeepL service, with the key in DEEPL_AUTH_KEY."""
    spec.allow([])
    return DeepL(url=spec.target or None)
