"""Replies to clients: whole, in pieces, or an error in the form that the moment allows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.types import Message, Send

from palimpsest.serve.errors import ApiError
from palimpsest.serve.logs import RequestLog
from palimpsest.serve.sse import MEDIA_TYPE

STREAM_HEADERS = {
    "content-type": MEDIA_TYPE,
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


class Reply:
    """The one answer to a request.

    Args:
        send: ASGI's.
        record: Where status and errors are noted.
    """

    def __init__(self, send: Send, record: RequestLog) -> None:
        self._send = send
        self._record = record
        self._begun = False
        self._is_stream = False
        self._ended = False

    async def send(self, message: Message) -> None:
        """Send an ASGI message, with the request's id among its headers."""
        if message["type"] == "http.response.start":
            self._record.status = message["status"]
            self._begun = True
            own = (b"x-request-id", self._record.id.encode())
            message = {**message, "headers": [*message.get("headers", []), own]}
        elif message["type"] == "http.response.body":
            self._ended = not message.get("more_body", False)
        await self._send(message)

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send status and headers."""
        self._is_stream = headers.get("content-type", "").startswith(MEDIA_TYPE)
        raw = [
            (name.lower().encode(), value.encode("latin-1", "replace"))
            for name, value in headers.items()
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, piece: bytes) -> None:
        """Send a piece of the body."""
        await self.send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        """Send that nothing more will come."""
        await self.send({"type": "http.response.body", "body": b""})

    async def whole(self, value: Any, headers: Mapping[str, str]) -> None:
        """Send JSON."""
        await self._whole(200, json.dumps(value, separators=(",", ":")).encode(), headers)

    async def fail(self, error: ApiError) -> None:
        """Send an error: with its status, or as the last event of a stream that has begun.

        What has begun and is no stream is left unfinished, so that the client sees it break off.
        """
        self._record.error = error.code or error.param or "error"
        if not self._begun:
            await self._whole(error.status, error.body(), error.headers)
        elif self._is_stream and not self._ended:
            # The upstream may have broken off within an event, which the empty line ends.
            await self.write(b"\n\ndata: " + b" ".join(error.body().splitlines()) + b"\n\n")
            await self.end()

    async def _whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        length = str(len(body))
        fixed = {"content-type": "application/json", "content-length": length}
        await self.begin(status, {**headers, **fixed})
        await self.send({"type": "http.response.body", "body": body})
