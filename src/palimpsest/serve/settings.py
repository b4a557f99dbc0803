"""Settings of the server."""

from __future__ import annotations

from dataclasses import dataclass, field

from palimpsest.lm import is_loopback

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class ServeSettings:
    """Everything that can be chosen about one server."""

    upstream: str
    """A base URL such as ``http://127.0.0.1:8080/v1``, or the spec of a local model."""

    via: str = "identity"
    """The conjugation of requests that name none."""

    offer: tuple[str, ...] = ()
    """Conjugations shown among the models; empty for the exact ones that are registered."""

    name: str | None = None
    """What a local model is called; by default the last part of its spec."""

    host: str = "127.0.0.1"
    """The address to listen on."""

    port: int = 8000
    """The port to listen on; 0 for any that is free."""

    allow_hosts: tuple[str, ...] = ()
    """Names, besides those of loopback, by which clients may reach a server on loopback."""

    max_body_bytes: int = 8 * 2**20
    """Longest request."""

    max_conjugated_characters: int = 4 * 2**20
    """Longest that conjugations may make a request, all members of a vote together."""

    max_concurrent: int = 256
    """Requests at a time; more are sent away with 503 and ``Retry-After``."""

    max_connections: int = 1024
    """Clients connected at a time; fewer where the system allows fewer open files."""

    timeout_seconds: float = 600.0
    """Longest time that one request may take."""

    header_timeout_seconds: float = 10.0
    """Longest time in which a connection has to say what it wants."""

    body_timeout_seconds: float = 30.0
    """Longest time in which a request has to arrive."""

    connect_timeout_seconds: float = 10.0
    """Longest time that a connection to the upstream may take."""

    grace_seconds: int = 30
    """How long running requests may go on after the server was told to stop."""

    keep_alive_seconds: float = 15.0
    """A stream that has nothing certain to say sends a comment this often."""

    max_batch: int = 32
    """Prompts that a local model is asked at once."""

    log_prompts: bool = False
    """Whether prompts and answers are written to the log."""

    token: str | None = field(default=None, repr=False)
    """What clients must send as a bearer token, if anything."""

    upstream_key: str | None = field(default=None, repr=False)
    """What is sent to the upstream as a bearer token, if anything."""

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """Names that a ``Host`` header may have; empty where any may come.

        On loopback, others can only be a web page that had its own name point here.
        """
        if not self.on_loopback:
            return frozenset(self.allow_hosts)
        return frozenset({*LOOPBACK_NAMES, self.host, *self.allow_hosts})
