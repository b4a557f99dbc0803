"""Server-sent events: read from the upstream, written to the client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from palimpsest.serve.errors import ApiError

DONE = b"data: [DONE]\n\n"
COMMENT = b": the answer is on its way\n\n"
MEDIA_TYPE = "text/event-stream"

_LONGEST_EVENT = 16 * 2**20
_TAIL = 64


def event(value: Any) -> bytes:
    """Return a JSON value as one event."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


async def read_events(content: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Yield the data of every event, whatever the pieces in which the bytes arrive.

    Comments, names and ids of events are left out. A last event without the empty line after it is
    dropped: it was cut off.

    Raises:
        ApiError: 502 for an event that does not end.
    """
    data: list[bytes] = []
    async for line in _lines(content):
        if not line:
            if data:
                yield b"\n".join(data).decode("utf-8", "replace")
            data = []
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))


async def _lines(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    r"""Yield lines without their ends, which are ``\n`` or ``\r\n``."""
    rest = b""
    async for piece in content:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")
        if len(rest) > _LONGEST_EVENT:
            raise ApiError(502, "The upstream sent an event without end.", code="upstream_error")


async def with_comments(
    events: AsyncIterator[bytes], *, every_seconds: float
) -> AsyncGenerator[bytes]:
    """Yield the events, and a comment whenever none came for a while.

    Clients skip comments; proxies between would close a connection on which nothing moves.
    """
    while True:
        coming = asyncio.ensure_future(anext(events))
        try:
            while not (await asyncio.wait({coming}, timeout=every_seconds))[0]:
                yield COMMENT
        finally:
            if not coming.done():
                coming.cancel()
                with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                    await coming
        try:
            yield coming.result()
        except StopAsyncIteration:
            return


async def closed_by_done(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the bytes of a stream unchanged, and ``[DONE]`` after them if they do not end so."""
    tail = b""
    async for piece in content:
        tail = (tail + piece)[-_TAIL:]
        yield piece
    if not tail.rstrip().endswith(b"[DONE]"):
        yield (b"" if tail.endswith(b"\n\n") or not tail else b"\n\n") + DONE
