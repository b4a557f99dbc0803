"""The translator ``libretranslate``: any LibreTranslate server, over HTTP."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

from palimpsest.errors import did_you_mean
from palimpsest.lm.translators.json_service import JsonReply, JsonService
from palimpsest.lm.translators.languages import base_language, canonical
from palimpsest.lm.translators.translator import TranslationError, Translator
from palimpsest.specs import Spec

URL, KEY = "LIBRETRANSLATE_URL", "LIBRETRANSLATE_API_KEY"
"""Environment variables: where the server is, and what it wants to see."""

DEFAULT_URL = "http://127.0.0.1:5000"

_MOST_CHARACTERS = 8000
_TOO_MUCH = re.compile(r"exceeds text limit", re.IGNORECASE)
_START_ONE = (
    f"Start one (pip install libretranslate; libretranslate), or name it in {URL} or as "
    "libretranslate:URL"
)


class LibreTranslate:
    """A LibreTranslate server.

    Args:
        service: The server.
        spec: What the user typed, without secrets.
        key: Sent with every request if the server wants one; never shown.
        n_at_once: Texts of one request; fewer where the server says that it takes fewer.
    """

    def __init__(
        self,
        service: JsonService,
        *,
        spec: str = "libretranslate",
        key: str | None = None,
        n_at_once: int = 32,
    ) -> None:
        self.spec = spec
        self._service = service
        self._key = key
        self._n_at_once = n_at_once
        self._lock = Lock()
        self._languages: Mapping[str, frozenset[str]] | None = None
        self._release = ""

    def version(self, source: str, target: str) -> str:
        """Return the server's address and release; it does not say which models it has."""
        self._codes(source, target)
        return f"{self._service.shown} {self._release}"

    def describe(self, source: str, target: str) -> Mapping[str, str]:
        """Return the server's address and release."""
        return {
            "translator": "libretranslate",
            "version": self.version(source, target),
            "licence": "AGPL-3.0 (LibreTranslate); its models have their own",
        }

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Return the translation of every text; texts that the server fails at become empty."""
        codes = self._codes(source, target)
        answers: list[str] = []
        for batch in _batches(texts, self._n_at_once):
            some = self._translate(batch, *codes)
            failures = [answer for answer in some if isinstance(answer, TranslationError)]
            if failures and len(failures) == len(some):
                raise failures[0]
            answers += [answer if isinstance(answer, str) else "" for answer in some]
        return answers

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    def _translate(
        self, texts: Sequence[str], source: str, target: str, *, n_attempts: int | None = None
    ) -> list[str | TranslationError]:
        """Return a translation or what went wrong, for each; halves a request that fails."""
        body: dict[str, Any] = {
            "q": list(texts) if len(texts) > 1 else texts[0],
            "source": source,
            "target": target,
            "format": "text",
        }
        if self._key is not None:
            body["api_key"] = self._key
        reply = self._service.ask("/translate", body, n_attempts=n_attempts)
        answers = _answers(reply, len(texts))
        if answers is not None:
            return list(answers)
        error = self._error(reply)
        # The text's own fault, or too many at once; everything else would fail again.
        if reply.status not in {200, 500} and not _TOO_MUCH.search(error.message):
            raise error
        if len(texts) == 1:
            return [error]
        halves = texts[: len(texts) // 2], texts[len(texts) // 2 :]
        return [
            each for half in halves for each in self._translate(half, source, target, n_attempts=1)
        ]

    def _error(self, reply: JsonReply) -> TranslationError:
        said = reply.value.get("error") if isinstance(reply.value, dict) else None
        said = str(said)[:300] if said else "no reason given"
        if self._key:
            said = said.replace(self._key, "…")
        where = f"LibreTranslate at {self._service.shown}"
        if reply.status == 403:
            has_key = f"the key in {KEY} was not accepted" if self._key else "it may want a key"
            return TranslationError(f"{where} refuses ({said}).", hint=f"Look at {KEY}: {has_key}.")
        if reply.status == 429:
            return TranslationError(
                f"{where} allows no more requests for now ({said}).",
                hint="Wait and run the same command again: what was translated is kept.",
            )
        if reply.status == 200:
            return TranslationError(
                f"{where} answered something that is no translation.",
                hint="Is it a LibreTranslate server? Expected translatedText, one for each text.",
            )
        return TranslationError(
            f"{where} answered {reply.status}: {said}.", hint="Look at the server's log."
        )

    def _codes(self, source: str, target: str) -> tuple[str, str]:
        """Return what the server calls two languages.

        Raises:
            TranslationError: It is not there, or has no such pair.
        """
        with self._lock:
            if self._languages is None:
                self._languages = self._read_languages()
                self._release = self._read_release()
        known = self._languages
        codes = []
        for language in (source, target):
            tags = {canonical(code): code for code in known}
            code = tags.get(canonical(language)) or tags.get(base_language(language))
            if code is None:
                raise TranslationError(
                    f"LibreTranslate at {self._service.shown} has no language '{language}'."
                    f"{did_you_mean(language, tags)}",
                    hint=f"It has: {', '.join(sorted(known))}.",
                )
            codes.append(code)
        if known[codes[0]] and codes[1] not in known[codes[0]]:
            raise TranslationError(
                f"LibreTranslate at {self._service.shown} does not translate from '{source}' "
                f"into '{target}'.",
                hint=f"From '{source}' it has: {', '.join(sorted(known[codes[0]]))}.",
            )
        return codes[0], codes[1]

    def _read_languages(self) -> Mapping[str, frozenset[str]]:
        try:
            reply = self._service.ask("/languages")
        except TranslationError as error:
            raise TranslationError(error.message, hint=_START_ONE) from error
        if reply.status != 200:
            raise self._error(reply)
        match reply.value:
            case [{"code": str()}, *_] as entries:
                return {
                    str(entry["code"]): frozenset(map(str, entry.get("targets") or ()))
                    for entry in entries
                    if isinstance(entry, dict) and "code" in entry
                }
        raise self._error(JsonReply(200, None))

    def _read_release(self) -> str:
        """Return the release, which the description of the interface names."""
        reply = self._service.ask("/spec")
        match reply.value:
            case {"info": {"version": str(release)}} if reply.status == 200:
                return release[:40]
        return "of unknown release"


def _answers(reply: JsonReply, n: int) -> list[str] | None:
    if reply.status != 200 or not isinstance(reply.value, dict):
        return None
    match reply.value.get("translatedText"):
        case str(text) if n == 1:
            return [text]
        case list(texts) if len(texts) == n and all(isinstance(text, str) for text in texts):
            return texts
    return None


def _batches(texts: Sequence[str], most: int) -> Iterator[list[str]]:
    batch: list[str] = []
    n_characters = 0
    for text in texts:
        if batch and (len(batch) == most or n_characters + len(text) > _MOST_CHARACTERS):
            yield batch
            batch, n_characters = [], 0
        batch.append(text)
        n_characters += len(text)
    if batch:
        yield batch


def load(spec: Spec) -> Translator:
    """A LibreTranslate server, by default LIBRETRANSLATE_URL or http://127.0.0.1:5000."""
    spec.allow(["batch", "timeout"])
    url = spec.target or os.environ.get(URL) or DEFAULT_URL
    service = JsonService(
        url, name="LibreTranslate", timeout_seconds=spec.count("timeout", 60, most=3600)
    )
    listed = "".join(f",{key}={value}" for key, value in spec.options.items())
    return LibreTranslate(
        service,
        spec=f"libretranslate{f':{service.shown}' if spec.target else ''}{listed}",
        key=os.environ.get(KEY) or None,
        n_at_once=spec.count("batch", 32, most=1000),
    )
