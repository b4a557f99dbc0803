"""Endpoints on loopback, and models that ask them impatiently."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.fault_server import FaultServer

from palimpsest.lm.models.openai.endpoint import EndpointModel
from palimpsest.lm.models.openai.options import EndpointOptions
from palimpsest.lm.models.specs import parse_model_spec

QUICK = {"timeout": "5", "backoff": "0.01"}
"""Waits that suit a server on this machine."""


def endpoint(url: str, *, model: str = "m", **options: object) -> EndpointModel:
    """Return the model behind ``url``; options as in the spec."""
    texts = {**QUICK, **{name: str(value) for name, value in options.items()}}
    text = f"openai:{model}@{url}" + "".join(f",{name}={value}" for name, value in texts.items())
    spec = parse_model_spec(text)
    return EndpointModel(spec, EndpointOptions.parse(spec))


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no key of the person who runs the tests travel anywhere."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server that makes no faults unless it is told to."""
    with FaultServer() as running:
        yield running
