"""Life of the server, from binding its address until it is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from urllib.parse import urlsplit

import uvicorn

from palimpsest.errors import UserError
from palimpsest.lm import is_loopback
from palimpsest.serve.app import create_app
from palimpsest.serve.connections import bounded_protocol, most_connections
from palimpsest.serve.listening import bound
from palimpsest.serve.logs import LOG, log_to_stderr
from palimpsest.serve.settings import ServeSettings

DEFAULT_KEY_ENV = "OPENAI_API_KEY"
DEFAULT_TOKEN_ENV = "PALIMPSEST_SERVE_TOKEN"

_KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep idle connections, so that they are the ones to close them."""


def serve(settings: ServeSettings) -> None:
    """Serve until SIGINT or SIGTERM; requests that run then are finished first.

    A second SIGINT does not wait for them.

    Raises:
        UserError: The upstream, a conjugation or the address cannot be used.
    """
    app = create_app(settings)
    with bound(settings.host, settings.port) as listener:
        log_to_stderr()
        _announce(settings, listener.getsockname()[1])
        config = uvicorn.Config(
            app,
            http=bounded_protocol(settings),
            backlog=most_connections(settings),
            log_config=None,
            access_log=False,
            ws="none",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=settings.grace_seconds,
        )
        _Server(config).run(sockets=[listener])
    LOG.info("stopped")


class _Server(uvicorn.Server):
    """uvicorn, but a signal that stops it is no reason to fail afterwards."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            kind: signal.signal(kind, self.handle_exit) for kind in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        LOG.info("stopping", extra={"fields": {"signal": signal.Signals(sig).name}})
        super().handle_exit(sig, frame)


def _announce(settings: ServeSettings, port: int) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    fields = {
        "url": f"http://{host}:{port}/v1",
        "upstream": settings.upstream,
        "via": settings.via,
        "token": settings.token is not None,
    }
    LOG.info("listening", extra={"fields": fields})
    if not settings.on_loopback and settings.token is None:
        LOG.warning(
            "everyone who reaches this address can ask, at your cost: set a token, "
            "or listen on 127.0.0.1"
        )
    if settings.upstream_key and goes_in_clear(settings.upstream):
        LOG.warning("the upstream's key is sent over plain http, where others can read it")


def goes_in_clear(upstream: str) -> bool:
    """Return whether what is sent to an upstream leaves this machine unencrypted.

    Example:
        >>> goes_in_clear("http://h/v1"), goes_in_clear("http://localhost:1/v1")
        (True, False)
    """
    url = urlsplit(upstream)
    return url.scheme == "http" and not is_loopback(url.hostname or "")


def upstream_key(environment: Mapping[str, str], upstream: str, variable: str | None) -> str | None:
    """Return the upstream's key.

    A variable that was named has to be there. The default one may be missing, and is for hosts that
    are reached by https, or on this machine: nobody else shall read it on the way.

    Raises:
        UserError: The variable that was named is not set.
    """
    if variable is not None:
        return secret(environment, variable, required=True)
    if goes_in_clear(upstream):
        return None
    return secret(environment, DEFAULT_KEY_ENV, required=False)


def secret(environment: Mapping[str, str], variable: str, *, required: bool) -> str | None:
    """Return a secret from the environment; nothing if it is not there or empty.

    Raises:
        UserError: It is required, and not there.
    """
    value = environment.get(variable, "").strip()
    if required and not value:
        raise UserError(
            f"The environment variable '{variable}' is not set.",
            hint=f"Set it, for instance with: export {variable}=…",
        )
    return value or None
