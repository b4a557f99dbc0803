"""Services that take and give JSON over HTTP, asked from code without an event loop."""

from __future__ import annotations

import asyncio
import json
import random
import time
import weakref
from collections.abc import Callable, Mapping
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from palimpsest.lm.network import (
    BoundedReply,
    WrongBodyError,
    bare_url,
    fetch,
    open_client,
    retry_after,
    strict_json,
)
from palimpsest.lm.translators.translator import TranslationError

if TYPE_CHECKING:
    import httpx

_MOST_BYTES = 20_000_000
_MOST_SECONDS_WAITED = 30.0
"""Longer than this no ``Retry-After`` is waited for."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class JsonReply(NamedTuple):
    """What a service answered in the end."""

    status: int
    value: Any
    """The JSON, or ``None`` if there was none."""


class JsonService:
    """A service at one address; safe across threads.

    Requests that fail for a passing reason (no connection, time out, 429, 5xx) are sent again after
    a growing wait, or as long as ``Retry-After`` says.

    Args:
        url: ``http://`` or ``https://``, perhaps with user and password, which are never shown.
        name: What errors call it.
        timeout_seconds: For one request, from connecting to the end of the answer.
        n_attempts: How often a request is sent at most.
        sleep: Waits.

    Raises:
        TranslationError: The address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        timeout_seconds: float = 60.0,
        n_attempts: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise TranslationError(
                f"'{bare_url(url)}' is no address of {name}.",
                hint="Write one such as: http://127.0.0.1:5000",
            )
        self.name = name
        self.shown = bare_url(url)
        self._url = url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._n_attempts = n_attempts
        self._sleep = sleep
        self._lock = Lock()
        self._http: _Http | None = None

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._http is not None:
                self._http.close()
                self._http = None

    def ask(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        n_attempts: int | None = None,
    ) -> JsonReply:
        """Return the last answer that came: to a POST of JSON, or without a body to a GET.

        Raises:
            TranslationError: None came.
            UserError: The environment names a proxy that cannot be used.
        """
        import httpx

        problem, most = "", n_attempts or self._n_attempts
        for attempt in range(most):
            reply, wait = None, None
            try:
                reply, wait = self._once(path, body, headers or {})
            except WrongBodyError as error:
                problem = str(error)
            except (httpx.HTTPError, TimeoutError) as error:
                problem = _in_words(error)
            last = attempt == most - 1
            if reply is not None and (last or reply.status not in _PASSING):
                return reply
            if not last:
                self._sleep(_pause(attempt) if wait is None else wait)
        raise TranslationError(
            f"{self.name} at {self.shown} does not answer: {problem} ({most} attempts).",
            hint="Start it, or name another address.",
        )

    def _once(
        self, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> tuple[JsonReply, float | None]:
        with self._lock:
            if self._http is None:
                self._http = _Http(self._url, self._timeout_seconds)
        content = None if body is None else json.dumps(body).encode()
        reply = self._http.ask(f"{self._url}{path}", content, headers)
        try:
            value = strict_json(reply.content)
        except ValueError:
            value = None
        asked = retry_after(reply.headers.get("retry-after"), time.time())
        wait = None if asked is None else min(asked, _MOST_SECONDS_WAITED)
        return JsonReply(reply.status, value), wait


class _Http:
    """A client with an event loop in a thread: only there can a whole request be given a time."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._client = open_client(url, timeout=timeout_seconds)
        self._loop = asyncio.new_event_loop()
        thread = Thread(target=self._loop.run_forever, name="service", daemon=True)
        thread.start()
        self.close = weakref.finalize(self, _end, self._loop, thread, self._client)

    def ask(self, url: str, content: bytes | None, headers: Mapping[str, str]) -> BoundedReply:
        reply = fetch(
            self._client,
            "GET" if content is None else "POST",
            url,
            content=content,
            headers={"Content-Type": "application/json", **headers},
            most_bytes=_MOST_BYTES,
            seconds=self._timeout_seconds,
        )
        return asyncio.run_coroutine_threadsafe(reply, self._loop).result()


def _end(loop: asyncio.AbstractEventLoop, thread: Thread, client: httpx.AsyncClient) -> None:
    asyncio.run_coroutine_threadsafe(client.aclose(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def _pause(attempt: int) -> float:
    """Return half a second, doubled with every attempt, give or take a half of it."""
    return 0.5 * 2.0**attempt * random.uniform(0.5, 1.5)


def _in_words(error: Exception) -> str:
    """Return what happened; the libraries' own texts may quote a request."""
    import httpx

    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return "it took too long"
    if isinstance(error, httpx.ConnectError):
        return "there is no connection"
    return f"the connection broke ({type(error).__name__})"
