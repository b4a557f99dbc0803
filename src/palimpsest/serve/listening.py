"""Addresses that a server of this package listens on."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from palimpsest.errors import UserError

_BACKLOG = 2048
"""Connections that may wait to be accepted; uvicorn's own default."""


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Bind an address before anything is announced.

    Raises:
        UserError: There is no such address, or another program has it.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(
            f"No address '{host}': {error.strerror}.", hint="Try: --host 127.0.0.1"
        ) from error
    with listener:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            raise UserError(
                f"Cannot listen on {host}:{port}: {error.strerror}.",
                hint=f"Another program does; try: --port {port + 1}" if in_use else None,
            ) from error
        listener.listen(_BACKLOG)  # from here on a client that was told the address gets in
        yield listener
