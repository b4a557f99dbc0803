"""Structured logs: one JSON object a line, without what was asked or answered."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOG = logging.getLogger("palimpsest.serve")

_LONGEST = 200
"""Characters of what a client wrote, such as a model's name, that go into the log."""


class JsonLines(logging.Formatter):
    """Writes a record as JSON; ``extra={"fields": …}`` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        return json.dumps(line)


class Seldom(logging.Filter):
    """Lets the same message through so many times in so many seconds.

    Whoever sends garbage makes uvicorn and asyncio complain of each piece.
    """

    def __init__(self, most: int = 10, seconds: float = 10.0) -> None:
        super().__init__()
        self._most, self._seconds = most, seconds
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be written; the last one says that others are left out."""
        message = str(record.msg)[:_LONGEST]
        if len(self._seen) > _LONGEST:
            self._seen.clear()
        since, n = self._seen.get(message, (record.created, 0))
        if record.created - since > self._seconds:
            since, n = record.created, 0
        self._seen[message] = since, n + 1
        if n + 1 == self._most:
            record.fields = {**getattr(record, "fields", {}), "more_like_it": "left out"}
        return n < self._most


def log_to_stderr() -> None:
    """Send our logs, uvicorn's and asyncio's to standard error."""
    for name, level in (
        ("palimpsest.serve", logging.INFO),
        ("uvicorn", logging.WARNING),
        ("asyncio", logging.WARNING),
    ):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
        if not name.startswith("palimpsest"):
            handler.addFilter(Seldom())
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False


@dataclass
class RequestLog:
    """What the log will say of one request."""

    method: str
    path: str
    client: str | None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: int | None = None
    model: str | None = None
    via: str | None = None
    stream: bool = False
    error: str | None = None
    flags: tuple[str, ...] = ()
    usage: Any = None
    texts: dict[str, Any] = field(default_factory=dict)
    """Prompt and answer, if the server was told to log them."""
    started: float = field(default_factory=time.perf_counter)

    def write(self) -> None:
        """Write the line."""
        usage = self.usage if isinstance(self.usage, dict) else {}
        fields = {
            "id": self.id,
            "client": self.client,
            "method": self.method,
            "path": self.path[:_LONGEST],
            "status": self.status,
            "model": self.model and self.model[:_LONGEST],
            "via": self.via,
            "stream": self.stream,
            "milliseconds": round(1000 * (time.perf_counter() - self.started), 2),
            "prompt_tokens": usage.get("prompt_tokens"),
            "completion_tokens": usage.get("completion_tokens"),
            "flags": list(self.flags),
            "error": self.error,
            **self.texts,
        }
        kept = {name: value for name, value in fields.items() if value not in (None, [], False)}
        level = logging.ERROR if (self.status or 0) >= 500 else logging.INFO
        LOG.log(level, "request", extra={"fields": kept})


def log_failure(error: BaseException, request_id: str) -> None:
    """Log where an unforeseen error arose; its message may hold a prompt, so it is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in frames]
    fields = {"id": request_id, "type": type(error).__name__, "at": places}
    LOG.error("failure", extra={"fields": fields})
