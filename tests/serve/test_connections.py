"""Clients that are slow, silent or many keep nobody else out."""

from __future__ import annotations

import logging
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.serve.stub import Stub
from tests.servers import serving

from palimpsest.serve.app import create_app
from palimpsest.serve.connections import bounded_protocol, most_connections
from palimpsest.serve.logs import Seldom
from palimpsest.serve.settings import ServeSettings

BODY = {"model": "echo@leet", "messages": [{"role": "user", "content": "Hello"}]}
PATH = "/v1/chat/completions"


@contextmanager
def server(stub_at: tuple[Stub, str], **options: Any) -> Iterator[str]:
    settings = ServeSettings(upstream=stub_at[1], **options)
    with serving(create_app(settings), http=bounded_protocol(settings)) as url:
        yield url


def connect(url: str) -> socket.socket:
    place = urlsplit(url)
    assert place.hostname
    assert place.port
    return socket.create_connection((place.hostname, place.port), timeout=10)


def request(url: str, length: int, extra: str = "") -> bytes:
    host = urlsplit(url).netloc
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{extra}\r\n".encode()
    )


def is_closed(opened: socket.socket) -> bool:
    try:
        return opened.recv(1) == b""
    except ConnectionError:
        return True


def answers(url: str) -> bool:
    with httpx.Client(trust_env=False, timeout=10) as client:
        return client.post(f"{url}{PATH}", json=BODY).is_success


@pytest.mark.slow
@pytest.mark.parametrize("said", [b"", b"POST / HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_headers_that_never_end_are_waited_for_so_long_and_no_longer(
    stub_at: tuple[Stub, str], said: bytes
) -> None:
    with server(stub_at, header_timeout_seconds=0.3) as url, connect(url) as opened:
        opened.sendall(said)
        began = time.monotonic()
        assert is_closed(opened)
        assert time.monotonic() - began < 5


@pytest.mark.slow
def test_a_second_request_on_the_same_connection_has_the_same_deadline(
    stub_at: tuple[Stub, str],
) -> None:
    with server(stub_at, header_timeout_seconds=0.3) as url, connect(url) as opened:
        opened.sendall(f"GET /health HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"}"):
            answer += opened.recv(4096)
        time.sleep(0.6)  # between requests it may be silent for as long as connections are kept
        opened.sendall(b"GET /health HTTP/1.1\r\nX-Slow: ")
        assert is_closed(opened)


@pytest.mark.slow
def test_a_slow_answer_is_no_silence(stub_at: tuple[Stub, str]) -> None:
    with server(stub_at, header_timeout_seconds=0.2) as url, httpx.Client(trust_env=False) as http:
        body = {**BODY, "model": "slow@leet"}
        assert http.post(f"{url}{PATH}", json=body, timeout=20).status_code < 500


@pytest.mark.slow
def test_silent_connections_make_room_for_one_that_asks(stub_at: tuple[Stub, str]) -> None:
    with server(stub_at, max_connections=8) as url, ExitStack() as stack:
        silent = [stack.enter_context(connect(url)) for _ in range(40)]
        assert answers(url)
        assert is_closed(silent[0])


@pytest.mark.slow
def test_bodies_that_do_not_arrive_take_no_slot(stub_at: tuple[Stub, str]) -> None:
    with server(stub_at, max_concurrent=2, body_timeout_seconds=5) as url, ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(url)).sendall(request(url, 1000) + b"x")
        assert answers(url)


@pytest.mark.slow
def test_two_lengths_are_answered_and_the_connection_closed(stub_at: tuple[Stub, str]) -> None:
    with server(stub_at) as url, connect(url) as opened:
        opened.sendall(request(url, 5, "Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n")
        answer = b""
        while piece := opened.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 400")


def test_connections_stay_below_the_open_files_that_the_system_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert most_connections(ServeSettings(upstream="http://h/v1")) == 96
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert most_connections(ServeSettings(upstream="http://h/v1")) == 1024


def test_the_same_complaint_is_logged_a_few_times() -> None:
    few = Seldom(most=3, seconds=1.0)

    def record(message: str, at: float) -> logging.LogRecord:
        made = logging.LogRecord("asyncio", logging.ERROR, "", 0, message, (), None)
        made.created = at
        return made

    written = [few.filter(record("too many files", 0.0)) for _ in range(1000)]
    assert sum(written) == 3
    assert few.filter(record("something else", 0.0))
    assert few.filter(record("too many files", 2.0))
