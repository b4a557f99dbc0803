"""An upstream on the network: any endpoint that speaks OpenAI's format."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import httpx

from palimpsest.errors import UserError
from palimpsest.lm import open_client, strict_json
from palimpsest.serve.errors import ApiError, from_upstream
from palimpsest.serve.settings import ServeSettings
from palimpsest.serve.sse import MEDIA_TYPE, read_events
from palimpsest.serve.streaming import malformed
from palimpsest.serve.upstream import Body, Endpoint, Raw, Streamed, WholeAnswer

_PASSED_ON = ("retry-after", "openai-", "x-ratelimit-")
"""Beginnings of the headers that clients get from the upstream."""

_LIST_SECONDS = 5.0
_MOST_ERROR_BYTES = 64 * 1024
_MOST_ANSWER_BYTES = 64 * 2**20
_HIDDEN = b"[key]"


class HttpUpstream:
    """Passes requests on to a base URL.

    The client's own ``Authorization`` never goes there: the upstream gets the key of the server's
    environment, or none. Redirects are not followed, as they would take the key along.

    Args:
        settings: Of the server; ``upstream`` is the base URL.

    Raises:
        UserError: The URL is none, the key has characters that no header may have, or the proxy
            that the environment names cannot be used.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._url = base_url(settings.upstream)
        self._key = (settings.upstream_key or "").encode()
        timeout = httpx.Timeout(
            settings.timeout_seconds, connect=settings.connect_timeout_seconds, pool=1.0
        )
        self._client = open_client(
            str(self._url),
            headers=_authorization(settings.upstream_key),
            timeout=timeout,
            # A vote asks several times at once. Servers commonly close idle connections after 5 s:
            # one that is closed just when we use it again would lose a request.
            limits=httpx.Limits(
                max_connections=4 * settings.max_concurrent,
                max_keepalive_connections=settings.max_concurrent,
                keepalive_expiry=2.0,
            ),
        )

    async def models(self) -> list[Body]:
        """Return what the upstream lists."""
        request = self._client.build_request("GET", f"{self._url}/models", timeout=_LIST_SECONDS)
        with self._explained():
            response = await self._client.send(request, stream=True)
        async with self._open(response):
            value = _json(await self._read(response, most_bytes=_MOST_ANSWER_BYTES))
        models = value.get("data")
        if not isinstance(models, list):
            raise malformed("its list of models")
        return [
            each for each in models if isinstance(each, dict) and isinstance(each.get("id"), str)
        ]

    async def complete(self, endpoint: Endpoint, body: Body) -> WholeAnswer:
        """Ask for an answer in one piece."""
        async with self._sent(endpoint, _dump(body)) as response:
            content = await self._read(response, most_bytes=_MOST_ANSWER_BYTES)
            return WholeAnswer(_json(content), self._passed_on(response))

    @asynccontextmanager
    async def stream(self, endpoint: Endpoint, body: Body) -> AsyncIterator[Streamed]:
        """Ask for an answer piece by piece."""
        async with self._sent(endpoint, _dump(body)) as response:
            kind = response.headers.get("content-type", "")
            if not kind.startswith(MEDIA_TYPE):
                raise malformed(f"'{kind[:80]}' instead of a stream")
            yield Streamed(self._chunks(response), self._passed_on(response))

    def relay(self, endpoint: Endpoint, content: bytes) -> AbstractAsyncContextManager[Raw]:
        """Pass a request on byte by byte."""
        return self._relay(endpoint, content)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _relay(self, endpoint: Endpoint, content: bytes) -> AsyncIterator[Raw]:
        async with self._sent(endpoint, content) as response:
            headers = self._passed_on(response)
            if "content-type" in response.headers:
                headers["content-type"] = response.headers["content-type"]
            yield Raw(response.status_code, headers, self._pieces(response))

    async def _send(
        self, endpoint: Endpoint, content: bytes, *, again: bool = True
    ) -> httpx.Response:
        """Send a request; once more if it met an idle connection that was being closed.

        On a connection that was made for it, a request may have been read before things went wrong:
        there it is never sent twice.
        """
        is_new = False

        async def note(event: str, _: Any) -> None:
            nonlocal is_new
            is_new |= event == "connection.connect_tcp.started"

        request = self._client.build_request(
            "POST",
            f"{self._url}{endpoint}",
            content=content,
            headers={"Content-Type": "application/json"},
            extensions={"trace": note},
        )
        try:
            return await self._client.send(request, stream=True)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            if is_new or not again:
                raise
            return await self._send(endpoint, content, again=False)

    @asynccontextmanager
    async def _sent(self, endpoint: Endpoint, content: bytes) -> AsyncIterator[httpx.Response]:
        with self._explained():
            response = await self._send(endpoint, content)
        async with self._open(response):
            yield response

    @asynccontextmanager
    async def _open(self, response: httpx.Response) -> AsyncIterator[None]:
        """Check a response that has begun, and close it in the end.

        Raises:
            ApiError: It is an error, or comes in an encoding that was not asked for: a few bytes
                may then stand for gigabytes, and a key in them could not be seen.
        """
        try:
            encoding = response.headers.get("content-encoding", "identity")
            if encoding != "identity":
                raise malformed(f"the encoding '{encoding[:80]}', which was not asked for,")
            if response.is_error:
                content = await self._read(response, most_bytes=_MOST_ERROR_BYTES, cut=True)
                raise from_upstream(response.status_code, content, self._passed_on(response))
            if not response.is_success:
                raise ApiError(
                    502,
                    f"The upstream answered with status {response.status_code}, which is no "
                    "answer. Is its base URL right?",
                    code="upstream_error",
                )
            yield
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response, *, most_bytes: int, cut: bool = False) -> bytes:
        """Return a response's content; a longer one is an error, or cut off."""
        content = bytearray()
        async for piece in self._pieces(response):
            content += piece
            if len(content) > most_bytes and cut:
                return bytes(content[:most_bytes])
            if len(content) > most_bytes:
                raise ApiError(
                    502,
                    f"The upstream sent more than the {most_bytes:,} bytes that are read.",
                    code="upstream_error",
                )
        return bytes(content)

    async def _pieces(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Yield what the upstream sends: the one door, at which our key is taken out."""
        held = b""
        with self._explained():
            async for piece in response.aiter_raw():
                if not self._key:
                    yield piece
                    continue
                clean = (held + piece).replace(self._key, _HIDDEN)
                n_held = _overlap(clean, self._key)
                held = clean[len(clean) - n_held :]
                yield clean[: len(clean) - n_held]
        if held:
            yield held

    def _passed_on(self, response: httpx.Response) -> dict[str, str]:
        """Return the headers that clients get as well."""
        key = self._key.decode()
        return {
            name: value.replace(key, _HIDDEN.decode()) if key else value
            for name, value in response.headers.items()
            if name.lower().startswith(_PASSED_ON)
        }

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[Body]:
        open_choices: set[Any] = set()
        n_chunks = 0
        async for data in read_events(self._pieces(response)):
            if data.strip() == "[DONE]":
                return
            chunk = _json(data.encode())
            if _is_error(chunk):
                raise from_upstream(502, data.encode(), {})
            n_chunks += 1
            _note_ends(chunk, open_choices)
            yield chunk
        if open_choices or not n_chunks:
            raise ApiError(
                502, "The upstream ended its stream in the middle.", code="upstream_error"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what went wrong on the way; messages of httpx may hold what nobody should see."""
        try:
            yield
        except httpx.PoolTimeout as error:
            raise ApiError(
                503, "Too many requests are under way.", headers={"Retry-After": "1"}
            ) from error
        except httpx.ConnectTimeout as error:
            raise self._unreachable(504, "did not accept a connection in time") from error
        except httpx.TimeoutException as error:
            raise self._unreachable(504, "did not answer in time") from error
        except httpx.ConnectError as error:
            raise self._unreachable(502, "cannot be reached") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise self._unreachable(502, "broke off the connection") from error

    def _unreachable(self, status: int, what: str) -> ApiError:
        return ApiError(status, f"The upstream {what}.", code="upstream_unreachable")


def base_url(text: str) -> httpx.URL:
    """Return a base URL that paths such as ``/models`` can be appended to.

    Raises:
        UserError: It is no URL, or holds a password or a query.

    Example:
        >>> str(base_url("http://localhost:8080")), str(base_url("https://api.openai.com/v1/"))
        ('http://localhost:8080/v1', 'https://api.openai.com/v1')
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise UserError(f"The upstream '{text}' is no URL: {error}.", hint=_URL_HINT) from error
    if url.userinfo or url.query or url.fragment:
        raise UserError(
            "The upstream's URL holds a password, a query or a fragment; expected a base URL.",
            hint="Put a key into the environment; --key-env names the variable.",
        )
    if not url.host:
        raise UserError(f"The upstream '{text}' names no host.", hint=_URL_HINT)
    return url.copy_with(path=url.path.rstrip("/") or "/v1")


_URL_HINT = "Write a base URL such as http://127.0.0.1:8080/v1"


def _authorization(key: str | None) -> dict[str, str]:
    if not key:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(
            "The upstream's key has characters that no HTTP header may have, such as a line break.",
            hint="Check the environment variable that holds it.",
        )
    return {"Authorization": f"Bearer {key}"}


def _dump(body: Body) -> bytes:
    """Return JSON in ASCII: texts may hold lone surrogates, which have no UTF-8."""
    return json.dumps(body, separators=(",", ":")).encode()


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = strict_json(content)
    except ValueError as error:
        raise malformed("what is not JSON") from error
    if not isinstance(value, dict):
        raise malformed("JSON that is no object")
    return value


def _overlap(content: bytes, key: bytes) -> int:
    """Return how many bytes at the end may be the beginning of a key."""
    lengths = range(min(len(key) - 1, len(content)), 0, -1)
    return next((length for length in lengths if content.endswith(key[:length])), 0)


def _is_error(chunk: Body) -> bool:
    """Return whether an event tells of an error, in whatever form, and is no chunk of an answer."""
    return bool(chunk.get("error")) or (
        "choices" not in chunk
        and (chunk.get("object") == "error" or any(name in chunk for name in _ERROR_FIELDS))
    )


_ERROR_FIELDS = ("error", "errors", "detail", "message", "msg")


def _note_ends(chunk: Body, open_choices: set[Any]) -> None:
    """Keep track of which answers have begun and not ended."""
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if not isinstance(choice, dict) or not isinstance(choice.get("index", 0), int):
            raise malformed("a choice")
        ended = bool(choice.get("finish_reason"))
        (open_choices.discard if ended else open_choices.add)(choice.get("index", 0))
