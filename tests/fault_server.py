"""An OpenAI-compatible server with faults on purpose, drawn from a seed, that keeps count."""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from typing import Any, Self

from tests.loops import run_to_end

FAULTS = (
    "429",
    "429 Retry-After",
    "429 until a date",
    "500",
    "503 HTML",
    "stall",
    "cut at once",
    "cut in the body",
    "broken JSON",
    "wrong schema",
    "error under 200",
    "slow drip",
)

PAUSE_SECONDS = 30.0
"""How long a stalled reply stands still: longer than any client of ours waits."""

DRIP_SECONDS = 0.05
"""Between two bytes of a dripping reply, so that no single read takes long."""

MOST_FAULTS = 6
"""In a row for one prompt; a client with more attempts than this must get every answer."""


def repeat(prompt: str) -> str:
    """Answer with the prompt's last word."""
    return f" {(prompt.split() or ['nothing'])[-1]}"


class FaultServer:
    """Serves ``/v1/completions`` and ``/v1/chat/completions`` on a free port of loopback.

    Whether the n-th request with a prompt goes wrong, and how, depends on seed, prompt and n
    alone: on no order of arrival.

    Args:
        answer: Continues a prompt; chat messages are joined by line breaks.
        share: Of requests that go wrong.
        kinds: Faults to draw from.
        seed: Of the draws.
        pause_seconds: Before an answer, as if it took work.
        retry_after: What ``429 Retry-After`` asks for.
        scores: Honour ``echo`` and ``logprobs``: each word is a token of log-probability −1.
    """

    def __init__(
        self,
        answer: Callable[[str], str] = repeat,
        *,
        share: float = 0.0,
        kinds: Sequence[str] = FAULTS,
        seed: int = 0,
        pause_seconds: float = 0.0,
        retry_after: str = "0.02",
        scores: bool = False,
    ) -> None:
        self.answer = answer
        self.share = share
        self.kinds = tuple(kinds)
        self.seed = seed
        self.pause_seconds = pause_seconds
        self.retry_after = retry_after
        self.scores = scores
        self.received: Counter[str] = Counter()
        """Requests by prompt."""
        self.answered: Counter[str] = Counter()
        """Whole good replies by prompt."""
        self.faults: Counter[str] = Counter()
        """Faults by kind."""
        self.bodies: list[Mapping[str, Any]] = []
        """Every request, parsed."""
        self.headers: list[str] = []
        """The head of every request."""
        self.n_running = 0
        self.most_running = 0
        """The most requests that ran at the same time."""
        self.n_abandoned = 0
        """Requests whose client went away."""
        self.script: list[bytes] = []
        """Whole HTTP replies that are sent first, whatever is asked."""
        self._thread = threading.Thread(target=lambda: run_to_end(self._main()), daemon=True)
        self._ready = threading.Event()
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _main(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._end.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:-1])
        body = json.loads(await reader.readexactly(int(fields["content-length"])))
        self.bodies.append(body)
        self.headers.append(head)
        self.n_running += 1
        self.most_running = max(self.most_running, self.n_running)
        reply = asyncio.ensure_future(self._reply(head.split(" ")[1], body, writer))
        try:
            while not reply.done():
                if reader.at_eof() or reader.exception():
                    self.n_abandoned += 1
                    return False
                await asyncio.wait([reply], timeout=0.01)
            return await reply
        finally:
            self.n_running -= 1
            reply.cancel()

    async def _reply(
        self, path: str, body: Mapping[str, Any], writer: asyncio.StreamWriter
    ) -> bool:
        chat = path.endswith("/chat/completions")
        prompt = "\n".join(m["content"] for m in body["messages"]) if chat else body["prompt"]
        self.received[prompt] += 1
        if self.script:
            writer.write(self.script.pop(0))
            await writer.drain()
            return True
        kind = self._fault(prompt, self.received[prompt])
        if kind is None:
            await asyncio.sleep(self.pause_seconds)
            writer.write(http_reply(200, self._good(prompt, body, chat)))
            await writer.drain()
            self.answered[prompt] += 1
            return True
        self.faults[kind] += 1
        return await self._go_wrong(kind, self._good(prompt, body, chat), writer)

    def _fault(self, prompt: str, n: int) -> str | None:
        draw = random.Random(f"{self.seed}/{n}/{prompt}")
        if n <= MOST_FAULTS and draw.random() < self.share:
            return draw.choice(self.kinds)
        return None

    def _good(self, prompt: str, body: Mapping[str, Any], chat: bool) -> bytes:
        words = self.answer(prompt).split(" ")
        most = body.get("max_tokens", body.get("max_completion_tokens", 16)) + 1
        text = " ".join(words[:most])  # the space in front makes an empty first word
        choice: dict[str, Any] = {"text": text}
        if chat:
            choice = {"message": {"role": "assistant", "content": text}}
        finish = "stop" if len(words) <= most else "length"
        counts = {"prompt_tokens": len(prompt.split()), "completion_tokens": text.count(" ")}
        if self.scores and body.get("echo"):
            choice = _echo(prompt, text)
        return json_bytes({
            "id": "x",
            "object": "chat.completion" if chat else "text_completion",
            "created": 0,
            "model": "faulty-1",
            "system_fingerprint": "fp_0",
            "choices": [{"index": 0, **choice, "finish_reason": finish}],
            "usage": counts,
        })  # fmt: skip

    async def _go_wrong(self, kind: str, good: bytes, writer: asyncio.StreamWriter) -> bool:
        simple = self._wrong_reply(kind, good)
        if simple is not None:
            writer.write(simple)
            await writer.drain()
            return True
        if kind == "stall":
            await asyncio.sleep(PAUSE_SECONDS)
        elif kind == "slow drip":
            for byte in http_reply(200, good):
                writer.write(bytes([byte]))
                await asyncio.sleep(DRIP_SECONDS)
        elif kind == "cut in the body":
            writer.write(http_reply(200, good)[: -len(good) // 2])
            await writer.drain()
        else:
            writer.transport.abort()
        return False

    def _wrong_reply(self, kind: str, good: bytes) -> bytes | None:
        busy = json_bytes({"error": {"message": "Slow down.", "type": "rate_limit", "code": "429"}})
        # A date knows only seconds: the one that has just begun asks for no wait at all.
        date = formatdate(time.time(), usegmt=True)
        replies = {
            "429": http_reply(429, busy),
            "429 Retry-After": http_reply(429, busy, f"Retry-After: {self.retry_after}"),
            "429 until a date": http_reply(429, busy, f"Retry-After: {date}"),
            "500": http_reply(500, json_bytes({"detail": "Internal error"})),
            "503 HTML": http_reply(503, b"<html><body><h1>Try later</h1></body></html>"),
            "broken JSON": http_reply(200, good[:-7]),
            "wrong schema": http_reply(200, json_bytes({"result": "fine"})),
            "error under 200": http_reply(200, json_bytes({"error": {"message": "overloaded"}})),
        }
        return replies.get(kind)


def _echo(prompt: str, text: str) -> dict[str, Any]:
    tokens = [*re.findall(r"\s*\S+|\s+", prompt), text]
    logprobs = [None, *[-1.0] * (len(tokens) - 1)]
    return {"text": prompt + text, "logprobs": {"tokens": tokens, "token_logprobs": logprobs}}


def json_bytes(value: object) -> bytes:
    """Return a value as the body of a reply."""
    return json.dumps(value).encode()


def http_reply(status: int, body: bytes, *headers: str) -> bytes:
    """Return a whole HTTP reply."""
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
