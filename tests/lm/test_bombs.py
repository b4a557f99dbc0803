"""Small replies that unpack, never end or nest without end, against every door for HTTP replies."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from tests.loops import run_to_end

from palimpsest.errors import UserError
from palimpsest.lm.models.openai.endpoint import EndpointModel
from palimpsest.lm.models.openai.options import EndpointOptions
from palimpsest.lm.models.specs import parse_model_spec
from palimpsest.lm.translators.deepl import KEY, DeepL
from palimpsest.lm.translators.json_service import JsonService
from palimpsest.lm.translators.libretranslate import LibreTranslate
from palimpsest.serve.errors import ApiError
from palimpsest.serve.settings import ServeSettings
from palimpsest.serve.upstream import Endpoint
from palimpsest.serve.upstream_http import HttpUpstream

SECONDS = 0.15
"""A request's time limit here."""

Send = Callable[[socket.socket], None]


def whole(status: int, body: bytes, *headers: str) -> Send:
    head = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", *headers, "", ""]
    return lambda connection: connection.sendall("\r\n".join(head).encode() + body)


def endless(piece: bytes, head: bytes, pause: float = 0.0) -> Send:
    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(pause)

    return send


ZEROS = b" " * 2**24
OPEN = b"HTTP/1.1 200 x\r\n"
BOMBS: dict[str, Send] = {
    "gzip": whole(200, gzip.compress(ZEROS, 1), "Content-Encoding: gzip"),
    "deflate": whole(200, zlib.compress(ZEROS, 1), "Content-Encoding: deflate"),
    "zstd": whole(200, b"\x28\xb5\x2f\xfd" * 99, "Content-Encoding: zstd"),
    "two encodings": whole(200, gzip.compress(ZEROS, 1), "Content-Encoding: gzip, gzip"),
    "gzip in an error": whole(400, gzip.compress(ZEROS, 1), "Content-Encoding: gzip"),
    "endless body": endless(b"x" * 2**20, OPEN + b"\r\n"),
    "endless error": endless(b"<" * 2**20, b"HTTP/1.1 400 x\r\n\r\n"),
    "error of <": whole(400, b"<" * 60_000),
    "slow drip": endless(b" ", OPEN + b"\r\n", 0.05),
    "slow headers": endless(b"a: b\r\n", OPEN, 0.05),
    "huge headers": endless(b"a: " + b"x" * 4096 + b"\r\n", OPEN),
    "deep JSON": whole(200, b"[" * 100_000),
    "deep object": whole(400, b'{"error":' * 50_000),
    "JSON that just parses": whole(400, b'[{"error":' * 450 + b'"x"' + b"}]" * 450),
    "JSON that just parses, as an answer": whole(200, b"[" * 950 + b"]" * 950),
    "JSON in JSON": whole(400, b'{"error": "' + b'{\\"detail\\": ' * 9000 + b'"}'),
    "numbers out of range": whole(200, b'{"choices": [{"text": "x", "index": 1e999}]}'),
    "NaN": whole(200, b'{"translatedText": NaN}'),
}


@contextmanager
def sending(send: Send) -> Iterator[str]:
    """Answer every request on loopback by ``send``."""

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            send(connection)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def ask_endpoint(url: str) -> None:
    spec = parse_model_spec(f"openai:m@{url},timeout={SECONDS},attempts=2,backoff=0.01")
    list(EndpointModel(spec, EndpointOptions.parse(spec)).generate(["Hi"], max_new_tokens=2))


def ask_libretranslate(url: str) -> None:
    service = JsonService(url, name="It", timeout_seconds=SECONDS, n_attempts=1)
    try:
        LibreTranslate(service).translate(["a"], "en", "es")
    finally:
        service.close()


def ask_deepl(url: str) -> None:
    translator = DeepL(url=url, n_attempts=1, timeout_seconds=SECONDS)
    try:
        translator.translate(["a"], "en", "es")
    finally:
        translator.close()


DOORS = [ask_endpoint, ask_libretranslate, ask_deepl]


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
def test_no_reply_costs_more_than_its_bounds(bomb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "key")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with sending(BOMBS[bomb]) as url:
        for door in DOORS:
            started = time.process_time(), time.monotonic()
            with pytest.raises(UserError) as caught:
                door(url)
            assert len(str(caught.value)) < 2000
            assert time.monotonic() - started[1] < 10  # of seconds; two attempts take 1.2
            assert time.process_time() - started[0] < 5  # unpacking or a bad pattern takes more


@pytest.mark.slow
@pytest.mark.parametrize("bomb", [name for name in BOMBS if not name.startswith("slow")])
def test_nor_does_any_cost_the_proxy_more(bomb: str) -> None:
    async def ask(url: str) -> None:
        upstream = HttpUpstream(ServeSettings(url, timeout_seconds=SECONDS))
        try:
            await upstream.complete(Endpoint.chat, {"model": "m", "messages": []})
        finally:
            await upstream.aclose()

    with sending(BOMBS[bomb]) as url:
        started = time.process_time()
        with pytest.raises(ApiError) as caught:
            run_to_end(ask(url))
        assert len(caught.value.message) <= 2000
        assert time.process_time() - started < 5
