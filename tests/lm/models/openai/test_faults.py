"""Faults that may pass are waited out; others end the run with what to do about it."""

from __future__ import annotations

import random
import re
import time
from email.utils import formatdate
from typing import Any

import pytest
from tests.fault_server import FAULTS, FaultServer, http_reply, json_bytes
from tests.lm.models.openai.conftest import endpoint

from palimpsest.errors import UserError
from palimpsest.lm.models.openai.faults import Backoff
from palimpsest.lm.models.openai.session import LARGEST_REPLY_BYTES

PROMPTS = [f"Say {n}" for n in range(12)]


def texts(url: str, prompts: list[str] = PROMPTS, **options: Any) -> list[str]:
    answers = dict(endpoint(url, **options).generate(prompts, max_new_tokens=5))
    return [answers[index].text for index in range(len(prompts))]


def error(status: int, message: str, **more: str) -> bytes:
    return http_reply(status, json_bytes({"error": {"message": message, **more}}))


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_every_kind_of_fault_that_may_pass_is_waited_out(kind: str) -> None:
    with FaultServer(share=0.5, kinds=[kind]) as server:
        found = texts(server.url, timeout=0.4, attempts=20)
    assert found == [f" {n}" for n in range(12)]
    assert server.faults[kind] >= 5
    assert all(server.answered[prompt] >= 1 for prompt in PROMPTS)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["seconds", pytest.param("date", marks=pytest.mark.slow)])
def test_a_server_that_names_a_time_is_not_asked_before(server: FaultServer, form: str) -> None:
    now, wait = time.time(), 0.3 if form == "seconds" else 1.0
    # Dates have whole seconds: 1 to 2 s from now.
    named = str(wait) if form == "seconds" else formatdate(now + 2, usegmt=True)
    server.script = [http_reply(429, b"", f"Retry-After: {named}")]
    texts(server.url, ["Say it"])
    assert time.time() >= now + wait
    assert server.received["Say it"] == 2


@pytest.mark.slow
def test_while_one_is_told_to_wait_all_wait(server: FaultServer) -> None:
    server.script = [http_reply(429, b"", "Retry-After: 0.2")]
    model = endpoint(server.url, concurrency=1)
    list(model.generate(["first"], max_new_tokens=5))
    server.script = [http_reply(429, b"", "Retry-After: 0.2")]
    started = time.monotonic()
    texts(server.url, PROMPTS, concurrency=2)
    assert time.monotonic() - started >= 0.2
    assert sum(server.received.values()) == 2 + len(PROMPTS) + 1


def test_a_time_beyond_patience_is_not_waited_for(server: FaultServer) -> None:
    server.script = [http_reply(429, b"", "Retry-After: 3600")]
    with pytest.raises(UserError, match="asked again in 3600 s"):
        texts(server.url, ["Say it"], patience=1)


def test_waits_grow_at_random_up_to_a_bound() -> None:
    backoff = Backoff(0.5, random.Random(1))
    waits = [max(backoff.seconds(n, None) for _ in range(200)) for n in range(1, 12)]
    bounds = [min(60.0, 0.5 * 2**n) for n in range(11)]
    assert all(0.8 * most < wait <= most for wait, most in zip(waits, bounds, strict=True))
    assert all(3.0 <= backoff.seconds(n, 3.0) <= 3.3 for n in range(1, 12))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["500", "stall", "broken JSON", "slow drip"])
def test_attempts_are_bounded_and_the_last_fault_is_named(kind: str) -> None:
    with FaultServer(share=1.0, kinds=[kind]) as server:
        with pytest.raises(UserError, match=r"in 3 attempts.*Last came ") as caught:
            texts(server.url, ["Say it"], attempts=3, timeout=0.2)
        assert server.received["Say it"] == 3
    assert "the same command continues" in str(caught.value)


def test_what_the_server_said_tells_more_than_the_cut_after_it(server: FaultServer) -> None:
    server.share, server.kinds = 1.0, ("cut at once",)
    server.script = [http_reply(500, json_bytes({"detail": "No template"}))]
    with pytest.raises(UserError) as caught:
        texts(server.url, ["Say it"], attempts=3, api="chat")
    assert "cut: " in str(caught.value)
    assert "before it status 500: No template." in str(caught.value)
    assert "api=completions" in str(caught.value)


@pytest.mark.slow
def test_time_is_bounded() -> None:
    with FaultServer(share=1.0, kinds=["stall"]) as server:
        started = time.monotonic()
        with pytest.raises(UserError, match="gave no answer"):
            texts(server.url, ["Say it"], timeout=0.2, patience=0.5, attempts=100, backoff=0.1)
        assert time.monotonic() - started < 10  # a hundred attempts would take far longer


def test_a_server_that_never_answered_is_given_up_soon() -> None:
    with FaultServer() as server:
        url = server.url
    with pytest.raises(UserError, match=r"in 3 attempts.*no connection") as caught:
        texts(url)
    assert "Is the server running" in str(caught.value)


def test_a_name_that_nobody_has_is_given_up_soon() -> None:
    with pytest.raises(UserError, match="no connection"):
        texts("http://nobody.invalid:9", key_env="none")


@pytest.mark.slow
def test_an_endless_reply_is_cut_off(server: FaultServer) -> None:
    most = LARGEST_REPLY_BYTES
    server.script = [http_reply(200, b" " * (most + 1))]
    with pytest.raises(UserError, match="a reply of more than 16 MiB"):
        texts(server.url, ["Say it"], attempts=1)


@pytest.mark.parametrize(
    ("status", "message", "advice"),
    [
        (400, "Pinned to another model.", "Check the name of the model"),
        (401, "Who are you?", "Put a valid key into OPENAI_API_KEY"),
        (402, "Pay first.", "no credit left"),
        (403, "Not you.", "Put a valid key into OPENAI_API_KEY"),
        (404, "This is a chat model.", "api=chat"),
        (404, "Not found.", "/v1/models lists"),
        (422, "Unexpected fields.", "Check the name of the model"),
    ],
)
def test_a_refusal_ends_the_run_at_once_and_teaches(
    server: FaultServer, status: int, message: str, advice: str
) -> None:
    server.script = [error(status, message)]
    with pytest.raises(UserError) as caught:
        texts(server.url, ["Say it"])
    said = f"{server.url}/v1/completions refused the request with status {status}."
    assert said in str(caught.value)
    assert message in str(caught.value)
    assert advice in str(caught.value)
    assert server.received["Say it"] == 1


def test_an_empty_purse_is_not_waited_for(server: FaultServer) -> None:
    server.script = [error(429, "You exceeded your quota.", code="insufficient_quota")]
    with pytest.raises(UserError, match="no credit left"):
        texts(server.url, ["Say it"])


@pytest.mark.parametrize(
    ("status", "message", "more"),
    [
        (400, "This model's maximum context length is 8 tokens.", {}),
        (400, "Too long.", {"code": "context_length_exceeded"}),
        (400, "exceeds the available context size", {"type": "exceed_context_size_error"}),
        (413, "Payload too large.", {}),
    ],
)
def test_a_prompt_too_long_gets_an_empty_answer_and_is_counted(
    server: FaultServer, status: int, message: str, more: dict[str, str]
) -> None:
    server.script = [error(status, message, **more)]
    model = endpoint(server.url, concurrency=1)
    answers = dict(model.generate(["long", "Say 2"], max_new_tokens=5))
    assert answers[0][:3] == ("", "length", 0)
    assert answers[1].text == " 2"
    assert model.describe()["prompts too long"] == "1"


def test_filtered_prompts_and_answers_are_counted(server: FaultServer) -> None:
    body = {"choices": [{"text": " I", "finish_reason": "content_filter"}]}
    server.script = [
        error(400, "Against the rules.", code="content_filter"),
        http_reply(200, json_bytes(body)),
    ]
    model = endpoint(server.url, concurrency=1)
    answers = dict(model.generate(["bad", "worse", "Say 3"], max_new_tokens=5))
    assert [answers[n].text for n in range(3)] == ["", " I", " 3"]
    assert model.describe()["stopped by a content filter"] == "2"


def test_a_server_with_another_dialect_is_understood(server: FaultServer) -> None:
    server.script = [
        error(400, "Use 'max_completion_tokens' instead.", param="max_tokens"),
        error(400, "Not supported with this model.", param="stop"),
    ]
    model = endpoint(server.url, concurrency=1, api="chat")
    answers = dict(model.generate(["Say a.b.c", "Say 2"], max_new_tokens=5, stop=["."]))
    assert [answers[n].text for n in range(2)] == [" a", " 2"]
    assert [sorted(body) for body in server.bodies[2:]] == [
        ["max_completion_tokens", "messages", "model", "temperature"]
    ] * 2
    assert re.fullmatch("4, of which 0 were repeated", model.describe()["requests"])
