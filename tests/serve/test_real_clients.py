"""Requests as real programs send them, recorded while their how-tos were tried."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.serve.conftest import Proxy, running

from palimpsest.lm.conjugations import parse_conjugation

SAID = "What is 5 plus 7?"
STREAM = {"stream": True, "stream_options": {"include_usage": True}}

RECORDED: dict[str, tuple[str, dict[str, Any]]] = {
    "promptfoo 0.121.20, openai:completion": (
        "completions",
        {"max_tokens": 1024, "temperature": 0, "top_p": 1, "presence_penalty": 0}
        | {"frequency_penalty": 0, "best_of": 1, "stop": ["<|im_end|>", "<|endoftext|>"]},
    ),
    "promptfoo 0.121.20, openai:chat": ("chat", {"max_tokens": 1024, "temperature": 0}),
    "garak 0.17.1, openai.OpenAICompatible at temperature 0": (
        "chat",
        {"frequency_penalty": 0.0, "max_tokens": 1024, "n": 1, "presence_penalty": 0.0}
        | {"stop": ["#", ";"], "temperature": 0, "top_p": 1.0},
    ),
    "garak 0.17.1, rest.RestGenerator": ("completions", {"max_tokens": 60, "temperature": 0}),
    "LiteLLM 1.110.2, text-completion-openai": (
        "completions",
        {"max_tokens": 30, "stop": "\n", "temperature": 0},
    ),
    "LiteLLM 1.110.2, openai": ("chat", {"temperature": 0, "stop": "\n", "max_tokens": 30}),
    "LiteLLM 1.110.2, openai, streamed": (
        "chat",
        {"temperature": 0, "stop": "\n", "max_tokens": 30, **STREAM},
    ),
}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A model in the server's process that understands leet alone."""
    leet = parse_conjugation("leet")
    rules = tmp_path_factory.mktemp("model") / "echo.json"
    rules.write_text(json.dumps([{"contains": leet.apply(SAID), "answer": leet.apply("twelve")}]))
    with running(upstream=f"scripted:{rules}") as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("client", RECORDED)
def test_a_local_model_takes_every_field_and_answers_inverted(local: Proxy, client: str) -> None:
    assert _said(local, *RECORDED[client]) == "twelve"


@pytest.mark.slow
@pytest.mark.parametrize("client", RECORDED)
def test_an_upstream_gets_every_field_and_the_answer_is_inverted(proxy: Proxy, client: str) -> None:
    assert _said(proxy, *RECORDED[client]) == SAID


def test_a_client_that_looks_whether_anybody_is_there_gets_an_answer(proxy: Proxy) -> None:
    """garak asks for the base URL before it begins; any answer will do."""
    assert proxy.http.get("/v1/").json()["error"]["code"] == "not_found"


def _said(proxy: Proxy, kind: str, fields: dict[str, Any]) -> str:
    ask = proxy.chat if kind == "chat" else proxy.complete
    response = ask("echo@leet", SAID, **fields)
    assert response.status_code == 200, response.text
    if not fields.get("stream"):
        [choice] = response.json()["choices"]
        return str(choice["message"]["content"] if kind == "chat" else choice["text"])
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)
