from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from openai import OpenAI
from tests.serve.stub import Stub
from tests.servers import serving

from palimpsest.serve.app import create_app
from palimpsest.serve.settings import ServeSettings


class Proxy(NamedTuple):
    """A running server of ours with clients for it."""

    url: str
    http: httpx.Client
    openai: Any
    """The real client; its types would want every message spelled out."""

    def chat(self, model: str, text: str, **fields: Any) -> httpx.Response:
        messages = [{"role": "user", "content": text}]
        body = {"model": model, "messages": messages, **fields}
        return self.http.post("/v1/chat/completions", json=body)

    def complete(self, model: str, prompt: Any, **fields: Any) -> httpx.Response:
        return self.http.post("/v1/completions", json={"model": model, "prompt": prompt, **fields})


StartProxy = Callable[..., AbstractContextManager[Proxy]]


@contextmanager
def running(**settings: Any) -> Iterator[Proxy]:
    with serving(create_app(ServeSettings(**settings)), grace_seconds=5) as url:
        token = settings.get("token") or "none"
        with (
            httpx.Client(base_url=url, timeout=60, trust_env=False) as http,
            OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as client,
        ):
            yield Proxy(url, http, client)


@pytest.fixture(scope="session")
def stub_at() -> Iterator[tuple[Stub, str]]:
    stub = Stub()
    with serving(stub.app) as url:
        yield stub, f"{url}/v1"


@pytest.fixture
def stub(stub_at: tuple[Stub, str]) -> Stub:
    return stub_at[0]


@pytest.fixture(scope="session")
def proxy(stub_at: tuple[Stub, str]) -> Iterator[Proxy]:
    """The server with its default settings in front of the stub."""
    with running(upstream=stub_at[1], upstream_key="sk-secret") as started:
        yield started


@pytest.fixture(scope="session")
def start(stub_at: tuple[Stub, str]) -> StartProxy:
    """Start the server in front of the stub with other settings."""

    def started(**settings: Any) -> AbstractContextManager[Proxy]:
        return running(**{"upstream": stub_at[1], **settings})

    return started
