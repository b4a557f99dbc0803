import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import APIError
from tests.loops import run_to_end
from tests.serve.conftest import Proxy, StartProxy
from tests.serve.stub import USAGE, Stub

from palimpsest.serve.sse import read_events, with_comments


async def _collect(pieces: list[bytes]) -> list[str]:
    async def content() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [data async for data in read_events(content())]


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=30), end=st.sampled_from(["\n", "\r\n"])
)
def test_events_are_read_whatever_the_pieces(sizes: list[int], end: str) -> None:
    text = ': hi\n\ndata: {"é": 1}\n\nevent: x\ndata:a\ndata: b\n\n\ndata: [DONE]\n\ndata: cut'
    data = text.replace("\n", end).encode()
    pieces: list[bytes] = []
    place = 0
    while place < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[place : place + size])
        place += size
    assert run_to_end(_collect(pieces)) == ['{"é": 1}', "a\nb", "[DONE]"]


async def _comments() -> list[bytes]:
    async def slow() -> AsyncIterator[bytes]:
        yield b"1"
        await asyncio.sleep(0.2)
        yield b"2"

    return [piece async for piece in with_comments(slow(), every_seconds=0.05)]


@pytest.mark.slow
def test_a_silent_stream_is_kept_open_by_comments() -> None:
    first, *comments, last = run_to_end(_comments())
    assert (first, last) == (b"1", b"2")
    assert comments
    assert all(comment.startswith(b":") for comment in comments)


def _events(text: str) -> list[Any]:
    return [
        line.removeprefix("data: ") if "[DONE]" in line else json.loads(line.removeprefix("data: "))
        for line in text.split("\n\n")
        if line.startswith("data:")
    ]


@pytest.mark.parametrize("model", ["echo", "bare"])
def test_a_stream_has_its_role_first_a_reason_last_the_count_and_done(
    proxy: Proxy, model: str
) -> None:
    options = {"include_usage": True}
    response = proxy.chat(f"{model}@pig-latin", "Say it", stream=True, stream_options=options)
    *chunks, count, done = _events(response.text)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [
        *([None] * (len(chunks) - 1)),
        "stop",
    ]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "Say it"
    assert (count["choices"], count["usage"]) == ([], USAGE)
    assert done == "[DONE]"
    assert {chunk["model"] for chunk in chunks} == {f"{model}@pig-latin"}
    assert response.headers["content-type"].startswith("text/event-stream")


def test_without_being_asked_a_stream_does_not_count(proxy: Proxy) -> None:
    for model in ("echo", "bare"):
        response = proxy.chat(f"{model}@leet", "x", stream=True)
        assert '"usage"' not in response.text
        assert response.text.count("[DONE]") == 1


def test_identity_adds_the_done_that_an_upstream_leaves_out(proxy: Proxy) -> None:
    assert proxy.chat("bare", "x", stream=True).text.endswith("data: [DONE]\n\n")
    assert proxy.chat("echo", "x", stream=True).text.count("[DONE]") == 1


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_stops_are_sent_where_they_mean_the_same_and_applied_after_inversion(
    proxy: Proxy, stub: Stub, stream: bool
) -> None:
    def ask(text: str, stop: list[str]) -> tuple[str, str]:
        response = proxy.complete("echo@leet", text, stop=stop, stream=stream)
        if not stream:
            [choice] = response.json()["choices"]
            return choice["text"], choice["finish_reason"]
        choices = [chunk["choices"][0] for chunk in _events(response.text)[:-1]]
        return "".join(choice["text"] for choice in choices), choices[-1]["finish_reason"]

    assert ask("It is\nso", ["\n"]) == ("It is", "stop")
    assert stub.last["stop"] == ["\n"]
    assert ask("It is User: so", ["User:", "###"]) == ("It is ", "stop")
    assert stub.last["stop"] == ["U53r:", "###"]
    # Sent conjugated, "so" (50) would stop at the 50 of an escaped \5\0 as well.
    assert ask("It is so, and so", ["so"]) == ("It is ", "stop")
    assert "stop" not in stub.last
    assert ask("It is 50", ["so"]) == ("It is 50", "stop")


def test_a_stop_that_is_met_ends_the_upstream_too(proxy: Proxy, stub: Stub) -> None:
    response = proxy.complete(
        "endless@leet", "It is so", stop=["so"], stream=True, user="is stopped"
    )
    assert response.text.count("[DONE]") == 1
    _wait_until(lambda: "is stopped" in stub.abandoned)


def test_text_comes_as_soon_as_it_is_certain(proxy: Proxy) -> None:
    # The upstream never ends, so that only what is not held back can arrive.
    stream = proxy.openai.completions.create(
        model="endless@leet", prompt="It is so.", stream=True, max_tokens=5
    )
    text = ""
    for chunk in stream:
        text += chunk.choices[0].text
        if len(text) > 20:
            break
    stream.close()
    assert text.startswith("It is so.more ")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["endless@leet", "endless", "endless@pig-latin"])
def test_a_client_that_goes_away_ends_the_upstream(proxy: Proxy, stub: Stub, model: str) -> None:
    body = {"model": model, "prompt": "x", "stream": True, "user": f"leaves {model}"}
    with proxy.http.stream("POST", "/v1/completions", json=body) as response:
        pieces = response.iter_bytes()
        next(pieces)
        assert body["user"] not in stub.abandoned
    _wait_until(lambda: body["user"] in stub.abandoned)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["hang@leet", "hang"])
def test_a_client_that_stops_waiting_ends_the_upstream(
    proxy: Proxy, stub: Stub, model: str
) -> None:
    body = {"model": model, "prompt": "x", "user": f"leaves {model}"}
    with pytest.raises(httpx.ReadTimeout):
        proxy.http.post("/v1/completions", json=body, timeout=2.0)
    _wait_until(lambda: body["user"] in stub.abandoned)


@pytest.mark.slow
def test_a_vote_whose_client_goes_away_ends_with_all_its_members(proxy: Proxy, stub: Stub) -> None:
    body = {"model": "hang@vote(leet,rot13,upper)", "prompt": "x", "user": "leaves a vote"}
    with pytest.raises(httpx.ReadTimeout):
        proxy.http.post("/v1/completions", json=body, timeout=2.0)
    _wait_until(lambda: stub.abandoned.count("leaves a vote") == 3)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cut@leet", "mute@leet", "complains@leet", "cut"])
def test_an_upstream_that_breaks_off_is_told_as_an_error_in_the_stream(
    proxy: Proxy, model: str
) -> None:
    response = proxy.complete(model, "a long text, of which only one half comes", stream=True)
    assert response.status_code == 200
    assert "[DONE]" not in response.text
    assert _events(response.text)[-1]["error"]["message"]
    with pytest.raises(APIError):
        for _ in proxy.openai.completions.create(model=model, prompt="a long text", stream=True):
            pass


@pytest.mark.slow
def test_a_stream_that_takes_too_long_ends_with_an_error(start: StartProxy) -> None:
    with start(timeout_seconds=0.5) as proxy:
        response = proxy.complete("endless@leet", "x", stream=True)
        assert _events(response.text)[-1]["error"]["code"] == "timeout"


@pytest.mark.slow
def test_a_stream_that_cannot_begin_has_the_status_of_its_error(proxy: Proxy) -> None:
    for model in ("status-429@leet", "status-429", "status-429@vote(leet,rot13)"):
        response = proxy.complete(model, "x", stream=True)
        assert (response.status_code, response.headers["retry-after"]) == (429, "3")


def _wait_until(true: Any) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
