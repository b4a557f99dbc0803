"""Upstreams behind the server: an endpoint on the network, or a model in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

Body = Mapping[str, Any]
"""A request or an answer, as JSON has it."""


class Endpoint(StrEnum):
    """The two ways of asking; the value is the path after ``/v1``."""

    chat = "/chat/completions"
    completions = "/completions"


class Streamed(NamedTuple):
    """A stream that the upstream has begun."""

    chunks: AsyncIterator[Body]
    """Chunks as OpenAI defines them, without the closing ``[DONE]``. An iteration that ends
    without an error has said everything."""

    headers: Mapping[str, str]
    """What the upstream says beside it."""


class WholeAnswer(NamedTuple):
    """An answer in one piece."""

    body: Body
    headers: Mapping[str, str]


class Raw(NamedTuple):
    """An answer that is passed on as it is."""

    status: int
    headers: Mapping[str, str]
    content: AsyncIterator[bytes]


class Upstream(Protocol):
    """Answers requests in OpenAI's format. All methods raise ``ApiError``."""

    async def models(self) -> list[Body]:
        """Return the models, as ``/v1/models`` lists them."""

    async def complete(self, endpoint: Endpoint, body: Body) -> WholeAnswer:
        """Answer in one piece."""

    def stream(self, endpoint: Endpoint, body: Body) -> AbstractAsyncContextManager[Streamed]:
        """Answer piece by piece; leaving the context tells the upstream to stop."""

    def relay(self, endpoint: Endpoint, content: bytes) -> AbstractAsyncContextManager[Raw] | None:
        """Pass the request on byte by byte; ``None`` where there are no bytes to pass on."""

    async def aclose(self) -> None:
        """Let go of connections and memory."""
