"""Ask a JSON service, again where that helps, for bounded time and bytes."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from palimpsest.lm.network import is_loopback, retry_after
from palimpsest.lm.translators.protocol import TranslationError

if TYPE_CHECKING:
    import httpx

_MOST_BYTES = 20_000_000
_MOST_SECONDS_WAITED = 30.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class Reply(NamedTuple):
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
        timeout_seconds: For connecting, for each part of an answer, and for all of it.
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
                f"'{without_secrets(url)}' is no address of {name}.",
                hint="Write one such as: http://127.0.0.1:5000",
            )
        self.name = name
        self.shown = without_secrets(url)
        self._url = url.rstrip("/")
        self._is_near = is_loopback(parts.hostname)
        self._timeout_seconds = timeout_seconds
        self._n_attempts = n_attempts
        self._sleep = sleep
        self._client: httpx.Client | None = None

    def get(self, path: str) -> Reply:
        """Return the answer to a GET."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any], *, n_attempts: int | None = None) -> Reply:
        """Return the answer to a POST of JSON; ``n_attempts`` for this one request."""
        return self._ask("POST", path, body, n_attempts)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        n_attempts: int | None = None,
    ) -> Reply:
        """Return the last answer that came.

        Raises:
            TranslationError: None came.
        """
        import httpx

        problem, most = "", n_attempts or self._n_attempts
        for attempt in range(most):
            try:
                reply, wait = self._once(method, path, body)
            except httpx.HTTPError as error:
                problem, reply, wait = _in_words(error), None, None
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
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> tuple[Reply, float | None]:
        import httpx

        if self._client is None:
            # What goes to this machine goes through no proxy.
            self._client = httpx.Client(
                timeout=self._timeout_seconds, trust_env=not self._is_near, follow_redirects=False
            )
        deadline = time.monotonic() + self._timeout_seconds
        content = bytearray()
        with self._client.stream(method, f"{self._url}{path}", json=body) as response:
            for chunk in response.iter_bytes():
                content += chunk
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("it took too long")
                if len(content) > _MOST_BYTES:
                    raise httpx.DecodingError(f"more than {_MOST_BYTES} bytes")
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            value = None
        asked = retry_after(response.headers.get("retry-after"), time.time())
        wait = None if asked is None else min(asked, _MOST_SECONDS_WAITED)
        return Reply(response.status_code, value), wait


def without_secrets(url: str) -> str:
    """Return an address without user, password and query.

    Example:
        >>> without_secrets("https://me:secret@example.org:5000/api?key=1")
        'https://example.org:5000/api'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _pause(attempt: int) -> float:
    """Return half a second, doubled with every attempt, give or take a half of it."""
    return 0.5 * 2.0**attempt * random.uniform(0.5, 1.5)


def _in_words(error: httpx.HTTPError) -> str:
    """Return what happened; the libraries' own texts may quote a request."""
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return "it took too long"
    if isinstance(error, httpx.ConnectError):
        return "there is no connection"
    return f"the connection broke ({type(error).__name__})"
