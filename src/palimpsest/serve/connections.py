"""Connections to the server: how many are open at a time, and how long one may stay silent.

uvicorn waits for ever for headers that never end, and opens as many connections as come.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from palimpsest.serve.settings import ServeSettings

_RESERVED = 64
"""Open files that are kept for everything but connections."""

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: 0\r\n\r\n"
)


def most_connections(settings: ServeSettings) -> int:
    """Return how many clients may be connected: each may need a connection to the upstream, too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return settings.max_connections
    return max(min(settings.max_connections, (soft - _RESERVED) // 2), 1)


def bounded_protocol(settings: ServeSettings) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with a deadline for headers and a bound on connections.

    A connection that has not said what it wants within ``header_timeout_seconds`` is closed. When
    all are taken, the one that has been silent for longest makes room for a new one; if none is
    silent, the new one is sent away.
    """
    bounds = {
        "most": most_connections(settings),
        "seconds": settings.header_timeout_seconds,
        "silent": {},
    }
    return type("BoundedProtocol", (_Bounded,), bounds)


class _Bounded(cast(Any, AutoHTTPProtocol)):  # type: ignore[misc]  # which is chosen at run time
    most: int
    seconds: float
    silent: dict[_Bounded, asyncio.TimerHandle]
    """Connections that have yet to say what they want, the oldest first; shared by all."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most:
            if not self.silent:
                transport.write(_BUSY)
                transport.close()
                return
            next(iter(self.silent)).drop()
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        if self._is_silent and self not in self.silent:  # the next request on the same connection
            self._expect_headers()
        super().data_received(data)
        if not self._is_silent:
            self._stop_waiting()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(error)

    def drop(self) -> None:
        """Close the connection without a word."""
        self._stop_waiting()
        self.transport.abort()

    @property
    def _is_silent(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_headers(self) -> None:
        self.silent[self] = self.loop.call_later(self.seconds, self.drop)

    def _stop_waiting(self) -> None:
        timer = self.silent.pop(self, None)
        if timer is not None:
            timer.cancel()
