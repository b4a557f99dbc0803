"""Limits of the server: who may ask, how much, how many at a time, and for how long."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from starlette.types import Receive

from palimpsest.serve.errors import ApiError
from palimpsest.serve.settings import ServeSettings


class ClientGoneError(Exception):
    """The client has closed the connection, so that nobody waits for the answer."""


class Slots:
    """So many requests at a time.

    Args:
        n: How many.
    """

    def __init__(self, n: int) -> None:
        self._n_free = n

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take one.

        Raises:
            ApiError: 503 with ``Retry-After``: none is free.
        """
        if self._n_free < 1:
            raise _overloaded("answering")
        self._n_free -= 1
        try:
            yield
        finally:
            self._n_free += 1


class BodyBudget:
    """So many bytes of requests that are still arriving, of all clients together.

    Args:
        n_bytes: How many.
    """

    def __init__(self, n_bytes: int) -> None:
        self._n_free = n_bytes

    def take(self, n_bytes: int) -> None:
        """Take some.

        Raises:
            ApiError: 503 with ``Retry-After``: not so many are left.
        """
        if n_bytes > self._n_free:
            raise _overloaded("reading")
        self._n_free -= n_bytes

    def give_back(self, n_bytes: int) -> None:
        """Return what was taken, once the request is there."""
        self._n_free += n_bytes


def _overloaded(doing: str) -> ApiError:
    return ApiError(
        503,
        f"The server is {doing} as many requests as it may. Try again in a second.",
        code="overloaded",
        headers={"Retry-After": "1"},
    )


def check_framing(headers: Mapping[str, str]) -> None:
    """Refuse a request of two lengths: a proxy before us may have read the other one.

    Raises:
        ApiError: 400, after which the connection is closed.
    """
    if "content-length" in headers and "transfer-encoding" in headers:
        raise ApiError(
            400,
            "The request has a Content-Length and a Transfer-Encoding; send one of them.",
            code="invalid_request",
            headers={"Connection": "close"},
        )


def check_host(headers: Mapping[str, str], settings: ServeSettings) -> None:
    """Refuse web pages of others, which a browser on this machine may have opened.

    A page can have its own name resolve to this machine and then ask as if it were at home: it is
    known by the ``Host`` that the browser sends. Any page can send a request without reading
    the answer: it is known by its ``Origin``.

    Raises:
        ApiError: 403 for a host or origin that is not allowed.
    """
    allowed = settings.allowed_hosts
    if not allowed:
        return
    host = _host_of(f"//{headers.get('host', '')}")
    if host not in allowed:
        raise ApiError(
            403,
            f"The host '{host}' is not allowed. Whoever runs the server can add --allow-host.",
            code="host_not_allowed",
        )
    origin = headers.get("origin")
    if origin is not None and _host_of(origin) not in allowed:
        raise ApiError(403, "Pages of other sites may not ask.", code="origin_not_allowed")


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def check_token(headers: Mapping[str, str], settings: ServeSettings) -> None:
    """Compare the bearer token with the server's, in a time that does not tell where they differ.

    Raises:
        ApiError: 401 for a wrong or missing one.
    """
    if settings.token is None:
        return
    scheme, _, given = headers.get("authorization", "").partition(" ")
    # Starlette reads headers as Latin-1: this gives back the bytes that were sent.
    same = hmac.compare_digest(given.strip().encode("latin-1"), settings.token.encode())
    if scheme.lower() != "bearer" or not same:
        raise ApiError(
            401,
            "The bearer token is missing or wrong.",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


async def read_body(
    receive: Receive, headers: Mapping[str, str], settings: ServeSettings, budget: BodyBudget
) -> bytes:
    """Return the body of a request.

    Raises:
        ApiError: 413 for one that is too long, 408 for one that does not arrive.
        ClientGoneError: The client went away.
    """
    stated = headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > settings.max_body_bytes:
        raise _too_long(settings)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_timeout_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                piece = message.get("body", b"")
                if len(body) + len(piece) > settings.max_body_bytes:
                    raise _too_long(settings)
                budget.take(len(piece))
                body += piece
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise ApiError(408, "The request did not arrive in time.", code="timeout") from error
    finally:
        budget.give_back(len(body))


def _too_long(settings: ServeSettings) -> ApiError:
    return ApiError(
        413,
        f"The request is longer than the {settings.max_body_bytes:,} bytes that are allowed.",
        code="request_too_large",
        headers={"Connection": "close"},
    )


async def while_wanted(
    work: Coroutine[Any, Any, None], receive: Receive, *, timeout_seconds: float
) -> None:
    """Do the work as long as the client waits for it and time is left.

    Raises:
        ApiError: 504 when the time is over.
        ClientGoneError: The client went away.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait(
            {working, gone}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if working.done():
            working.result()
        elif gone.done():
            raise ClientGoneError
        else:
            raise ApiError(
                504,
                f"The answer took longer than {timeout_seconds:g} seconds.",
                code="timeout",
            )
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
