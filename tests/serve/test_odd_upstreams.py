"""What upstreams send that they should not: odd streams, other people's secrets, bombs."""

from __future__ import annotations

import json
import resource
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.serve.conftest import Proxy, running
from tests.servers import serving

KEY = "sk-secret-key"


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


WORDS = ["H3110", " w0r1d", " 4g41n"]
STREAMS: dict[str, list[dict[str, Any]]] = {
    "null until the end": [*(chunk({"content": w}) for w in WORDS), chunk({}, "length")],
    "empty reason": [*(chunk({"content": w}, "") for w in WORDS), chunk({}, "stop")],
    "reason on every piece": [chunk({"content": w}, "stop") for w in WORDS],
    "no reason": [chunk({"content": w}) for w in WORDS],
    "reason before the rest": [chunk({"content": WORDS[0]}, "stop"), *map(chunk, (
        {"content": WORDS[1]}, {"content": WORDS[2]}))],
    "typed parts": [
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
        *(chunk({"content": [{"type": "text", "text": w}]}) for w in WORDS),
        chunk({}, "stop"),
    ],
    "a thought beside it": [
        chunk({"reasoning_content": "Let me see"}),
        *(chunk({"content": w}) for w in WORDS),
        chunk({}, "stop"),
    ],
}  # fmt: skip

THINKING = [chunk({"content": part}) for part in ("<thi", "nk>hm", "</think>", "\n\n", *WORDS)]
STREAMS["a thought in the answer"] = THINKING

ERRORS: dict[str, dict[str, Any]] = {
    "an error": {"error": {"message": "gone", "type": "server_error"}},
    "an error of vLLM's": {"object": "error", "message": "gone", "type": "Bad", "code": 400},
    "a detail": {"detail": "gone"},
    "a message": {"message": "gone", "status": 500},
}


class Odd:
    """Answers by the model's name, and keeps the headers that it was sent."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.app = Starlette(
            routes=[
                Route("/v1/models", self.models),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
            ]
        )

    async def models(self, request: Request) -> Response:
        return JSONResponse({"data": [{"id": "m", "root": request.headers["authorization"]}]})

    async def chat(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        body = await request.json()
        kind = body["model"]
        if body.get("stream"):
            events = STREAMS.get(kind) or [chunk({"content": "H3110"}), ERRORS[kind]]
            text = "".join(f"data: {json.dumps(each)}\n\n" for each in events)
            return Response(f"{text}data: [DONE]\n\n", media_type="text/event-stream")
        return getattr(self, kind)(request)  # type: ignore[no-any-return]

    def cookie(self, _: Request) -> Response:
        answer = said("ok")
        answer.set_cookie("session", "of-somebody")
        return answer

    def repeats(self, request: Request) -> Response:
        content = said(request.headers["authorization"]).body

        async def pieces() -> AsyncIterator[bytes]:
            for place in range(len(content)):
                yield bytes(content[place : place + 1])

        headers = {"openai-organization": KEY, "content-type": "application/json"}
        return StreamingResponse(pieces(), headers=headers)

    def letters(self, _: Request) -> Response:
        answer = said("ok")
        answer.raw_headers.append((b"openai-organization", "łódź".encode()))
        return answer

    def bomb(self, _: Request) -> Response:
        return Response(zipped(200), headers={"content-encoding": "gzip"})

    def thinks(self, _: Request) -> Response:
        return said("<think>hm</think>\n\nH3110 w0r1d")

    def plainly(self, _: Request) -> Response:
        return said("The number 15 is")

    def partly(self, _: Request) -> Response:
        return said("Th3 number 15 is")

    def infinite(self, _: Request) -> Response:
        return Response('{"choices": [{"message": {"content": "x"}, "p": 1e999}]}')


def zipped(n_megabytes: int) -> bytes:
    """Return so much white space in gzip's format, never holding all of it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(b" " * 10**6) for _ in range(n_megabytes)), packer.flush()])


def said(text: str) -> JSONResponse:
    message = {"role": "assistant", "content": text}
    return JSONResponse({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


@pytest.fixture(scope="module")
def odd() -> Iterator[tuple[Odd, Proxy]]:
    with behind() as started:
        yield started


@contextmanager
def behind() -> Iterator[tuple[Odd, Proxy]]:
    upstream = Odd()
    with (
        serving(upstream.app) as url,
        running(upstream=f"{url}/v1", upstream_key=KEY) as proxy,
    ):
        yield upstream, proxy


def streamed(proxy: Proxy, model: str) -> tuple[str, list[str]]:
    """Return the text of a stream, and the reasons that it gives for its end."""
    response = proxy.chat(model, "Hello", stream=True)
    lines = response.text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    choices = [choice for event in events for choice in event.get("choices", [])]
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    return text, [each["finish_reason"] for each in choices if each["finish_reason"]]


@pytest.mark.slow
@pytest.mark.parametrize("kind", STREAMS)
def test_every_piece_of_a_stream_comes_whatever_stands_beside_it(
    odd: tuple[Odd, Proxy], kind: str
) -> None:
    text, reasons = streamed(odd[1], f"{kind}@leet")
    assert text == "Hello world again".replace("l", "i")  # a 1 is an i
    assert reasons == ["length" if kind == "null until the end" else "stop"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_in_a_stream_is_told_in_whatever_form_it_comes(
    odd: tuple[Odd, Proxy], kind: str
) -> None:
    response = odd[1].chat(f"{kind}@leet", "Hello", stream=True)
    assert '"error"' in response.text
    assert "gone" in response.text


@pytest.mark.slow
@pytest.mark.parametrize("via", ["", "@leet"])
def test_a_cookie_that_is_set_for_one_client_goes_out_with_no_other_request(
    odd: tuple[Odd, Proxy], via: str
) -> None:
    upstream, proxy = odd
    for _ in range(2):
        response = proxy.chat(f"cookie{via}", "Hello")
        assert response.is_success
        assert "set-cookie" not in response.headers
    assert "cookie" not in upstream.headers[-1]


@pytest.mark.slow
@pytest.mark.parametrize("via", ["", "@rot13"])
def test_the_key_reaches_no_client_though_the_upstream_repeats_it(
    odd: tuple[Odd, Proxy], via: str
) -> None:
    proxy = odd[1]
    response = proxy.chat(f"repeats{via}", "Hello")
    assert response.is_success
    assert KEY not in response.text + str(response.headers)
    assert "[key]" in response.headers["openai-organization"]
    assert KEY not in proxy.http.get("/v1/models").text


def test_a_header_beyond_latin_1_spoils_no_answer(odd: tuple[Odd, Proxy]) -> None:
    assert odd[1].chat("letters@leet", "Hello").is_success
    assert odd[1].chat("letters", "Hello").is_success


@pytest.mark.slow
@pytest.mark.parametrize("via", ["@leet", pytest.param("", marks=pytest.mark.slow)])
def test_an_answer_in_an_encoding_that_was_not_asked_for_is_not_unpacked(
    odd: tuple[Odd, Proxy], via: str
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    response = odd[1].chat(f"bomb{via}", "Hello")
    assert response.status_code == 502
    assert "encoding 'gzip'" in response.json()["error"]["message"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # of 200 MB


def test_a_number_out_of_range_is_no_answer(odd: tuple[Odd, Proxy]) -> None:
    response = odd[1].chat("infinite@leet", "Hello")
    assert response.status_code == 502
    assert "Infinity" not in response.text


@pytest.mark.slow
@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_a_number_out_of_range_is_no_request(odd: tuple[Odd, Proxy], number: str) -> None:
    body = f'{{"model": "m@leet", "messages": [], "temperature": {number}}}'
    response = odd[1].http.post("/v1/chat/completions", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_json"


@pytest.mark.slow
def test_a_thought_is_kept_apart_from_the_answer(odd: tuple[Odd, Proxy]) -> None:
    message = odd[1].chat("thinks@leet", "Hello").json()["choices"][0]["message"]
    assert message["content"] == "Heiio worid"
    assert "hm" in message["reasoning_content"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "form", "text"),
    [
        ("thinks", "conjugated", "Heiio worid"),
        ("plainly", "plain", "The number 15 is"),
        ("partly", "mixed", "The number is is"),
    ],
)
def test_the_client_is_told_in_which_form_the_model_answered(
    odd: tuple[Odd, Proxy], model: str, form: str, text: str
) -> None:
    response = odd[1].chat(f"{model}@leet", "Hello")
    assert response.headers["x-palimpsest-answer"] == form
    assert response.json()["choices"][0]["message"]["content"] == text
    assert "x-palimpsest-answer" not in odd[1].chat(model, "Hello").headers
