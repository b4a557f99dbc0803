import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.loops import run_to_end
from tests.servers import serving

from palimpsest.serve import upstream_http
from palimpsest.serve.errors import ApiError
from palimpsest.serve.settings import ServeSettings
from palimpsest.serve.upstream import Endpoint, WholeAnswer
from palimpsest.serve.upstream_http import HttpUpstream

BODY = b'{"choices": []}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n" + BODY


class Moody:
    """Answers so many requests on each connection and then hangs up without a word."""

    def __init__(self, n_answered: list[int]) -> None:
        self.n_answered = n_answered
        self.n_requests = 0
        self.socket = socket.create_server(("127.0.0.1", 0))

    def run(self) -> None:
        for n in self.n_answered:
            connection, _ = self.socket.accept()
            with connection:
                for _ in range(n):
                    self._read(connection)
                    connection.sendall(ANSWER)
                self._read(connection)

    def _read(self, connection: socket.socket) -> None:
        data = b""
        while not data.endswith(b"{}"):
            received = connection.recv(4096)
            if not received:
                return
            data += received
        self.n_requests += 1


@contextmanager
def moody(*n_answered: int) -> Iterator[tuple[Moody, str]]:
    server = Moody(list(n_answered))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    with server.socket:
        yield server, f"http://127.0.0.1:{server.socket.getsockname()[1]}/v1"
        thread.join(10)


async def _ask(url: str, n: int) -> None:
    upstream = HttpUpstream(ServeSettings(url))
    try:
        for _ in range(n):
            assert (await upstream.complete(Endpoint.chat, {})).body == {"choices": []}
    finally:
        await upstream.aclose()


def test_a_request_that_meets_a_connection_being_closed_is_sent_again() -> None:
    with moody(1, 1) as (server, url):
        run_to_end(_ask(url, 2))
    assert server.n_requests == 3


def test_a_request_on_a_connection_of_its_own_is_never_sent_twice() -> None:
    with moody(0) as (server, url):
        with pytest.raises(ApiError) as caught:
            run_to_end(_ask(url, 1))
        assert (caught.value.status, server.n_requests) == (502, 1)


async def _leak(request: Request) -> Response:
    key = request.headers["authorization"]
    choice = {"index": 0, "text": f"Your key is {key}.", "finish_reason": "stop"}
    return JSONResponse({"choices": [choice]}, headers={"x-ratelimit-key": key})


@pytest.mark.slow
def test_a_key_that_stands_in_an_answer_or_a_header_is_hidden() -> None:
    async def ask(url: str) -> WholeAnswer:
        upstream = HttpUpstream(ServeSettings(url, upstream_key="sk-secret"))
        try:
            return await upstream.complete(Endpoint.completions, {})
        finally:
            await upstream.aclose()

    app = Starlette(routes=[Route("/v1/completions", _leak, methods=["POST"])])
    with serving(app) as url:
        answered = run_to_end(ask(f"{url}/v1"))
    assert "Bearer [key]" in answered.headers["x-ratelimit-key"]
    assert "sk-secret" not in str(answered)


async def _long(*_: object) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 2**16

    return StreamingResponse(pieces(), media_type="application/json")


@pytest.mark.slow
def test_an_answer_is_read_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_http, "_MOST_ANSWER_BYTES", 2**20)
    app = Starlette(routes=[Route("/v1/chat/completions", _long, methods=["POST"])])
    with serving(app) as url, pytest.raises(ApiError, match="more than the 1,048,576 bytes"):
        run_to_end(_ask(f"{url}/v1", 1))
