"""Thoughts are no answers, wherever a server puts them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fault_server import FaultServer, http_reply, json_bytes
from tests.lm.models.openai.conftest import endpoint

from palimpsest.lm.conjugations.specs import parse_conjugation
from palimpsest.lm.exchange import THOUGHT_ALONE, Exchange
from palimpsest.lm.models.openai.endpoint import EndpointModel
from palimpsest.lm.models.protocol import Generation

THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm.\n"}]}
SHAPES: list[dict[str, Any]] = [
    {"content": "Paris\nSo", "reasoning_content": "Hm.\n"},
    {"content": "Paris\nSo", "reasoning": "Hm.\n", "reasoning_details": [{"text": "Hm."}]},
    {"content": "Paris\nSo", "reasoning_details": [{"type": "reasoning.text", "text": "Hm.\n"}]},
    {"content": [THINKING, {"type": "text", "text": "Paris\nSo"}]},
    {"content": [{"type": "reasoning", "text": "Hm."}, {"type": "output_text", "text": "Paris"}]},
    {"content": "<think>\nHm.\n</think>\n\nParis\nSo"},
    {"content": "Hm.\n</think>\n\nParis\nSo"},
    {"content": "[THINK]Hm.\n[/THINK]Paris\nSo"},
    {"content": {"type": "text", "text": "Paris"}},
]
ALONE: list[dict[str, Any]] = [
    {"content": None, "reasoning_content": "Hm."},
    {"content": "", "reasoning": "Hm."},
    {"reasoning": "Hm."},
    {"content": [THINKING]},
    {"content": "<think>\nHm."},
    {"content": "<think>\nHm.\n</think>\n\n"},
]


def reply(message: dict[str, Any], reason: str = "stop", **more: Any) -> bytes:
    message = {"role": "assistant", **message}
    choices = [{"index": 0, "message": message, "finish_reason": reason}]
    return http_reply(200, json_bytes({"choices": choices, **more}))


def ask(model: EndpointModel, stop: str = "\n", most: int = 5) -> Generation:
    return next(iter(model.generate(["Where?"], max_new_tokens=most, stop=[stop])))[1]


@pytest.mark.parametrize("message", SHAPES)
def test_a_thought_stands_in_front_and_stops_count_behind_it(
    server: FaultServer, message: dict[str, Any]
) -> None:
    server.script = [reply(message)]
    answer = ask(endpoint(server.url, api="chat"))
    exchange = Exchange(parse_conjugation("identity"), ["\n"])
    assert exchange.read(answer.text).text == "Paris"
    assert ("Hm." in answer.text) == ("Hm." in str(message))
    assert answer.finish == "stop"
    assert answer.n_tokens == 2  # five letters
    assert exchange.answer_flags([answer.text]) == ()


@pytest.mark.parametrize("message", ALONE)
def test_a_thought_without_an_answer_is_an_empty_answer_that_says_so(
    server: FaultServer, message: dict[str, Any]
) -> None:
    server.script = [reply(message, "length")]
    model = endpoint(server.url, api="chat")
    answer = ask(model)
    exchange = Exchange(parse_conjugation("leet"), ["\n"])
    assert exchange.read(answer.text).text == ""
    assert exchange.answer_flags([answer.text]) == (THOUGHT_ALONE,)
    assert answer.finish == "length"
    assert model.describe()["thoughts without an answer"] == "1"


def test_a_message_of_no_text_at_all_is_an_empty_answer(server: FaultServer) -> None:
    server.script = [reply({})]
    assert ask(endpoint(server.url, api="chat")).text == ""


def test_a_stop_within_the_thought_is_not_sent_again(server: FaultServer) -> None:
    server.script = [reply({"content": "<think>"}), reply({"content": "<think>\n</think>\nParis"})]
    model = endpoint(server.url, api="chat")
    assert ask(model).text == "<think>\n</think>\nParis"
    ask(model)
    assert ["stop" in body for body in server.bodies] == [True, False, False]
    assert "no stop strings" in model.describe()["asked with"]


def test_tokens_of_the_answer_are_counted_where_the_server_tells_them_apart(
    server: FaultServer,
) -> None:
    usage = {"completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 48}}
    server.script = [reply({"content": "Paris", "reasoning": "Hm."}, usage=usage)]
    model = endpoint(server.url, api="chat")
    assert ask(model).n_tokens == 2
    assert "50 new" in model.describe()["tokens"]


def test_thinking_may_have_tokens_of_its_own(server: FaultServer) -> None:
    model = endpoint(server.url, api="chat", thinking_tokens=100)
    ask(model, most=7)
    assert server.bodies[0]["max_tokens"] == 107
    assert model.fingerprint != endpoint(server.url, api="chat").fingerprint
