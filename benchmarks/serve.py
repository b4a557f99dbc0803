"""What the conjugating server adds to a request, and whether it carries 200 streams at once.

Run it on an otherwise idle machine:

    python -m benchmarks.serve             # about half a minute
    python -m benchmarks.serve --quick     # fewer requests; the figures are rough

The upstream is a stub that answers at once, so that everything measured is overhead: the same
requests go directly to the stub and through ``palimpsest serve``, in turns. Stub, server and client
are processes of their own. Streams have a piece every 20 ms, as a model would send them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import httpx

TARGET_MS = 5.0
"""Overhead that half of the requests must stay under."""

TEXT = "Trash covered the landscape, and nobody said 7 words about it. " * 16
"""About a thousand characters, both of the prompt and of the answer."""

VIAS = ("identity", "leet", "pig-latin")
N_PIECES = 50
PIECE_SECONDS = 0.02


class Latencies(NamedTuple):
    """Of many requests, in milliseconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: list[float]) -> Latencies:
        """Take the quantiles."""
        cuts = statistics.quantiles(seconds, n=100, method="inclusive")
        return cls(1000 * statistics.median(seconds), 1000 * cuts[98])


class Streams(NamedTuple):
    """What came of many streams at once."""

    n: int
    n_errors: int
    seconds: float


def stub_app() -> Any:
    """Return the upstream: it repeats the last message at once, or in pieces with pauses."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "stub", "object": "model"}]})

    async def chat(request: Request) -> Response:
        body = await request.json()
        text = body["messages"][-1]["content"]
        frame: dict[str, Any] = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "stub",
        }
        if body.get("stream"):
            return StreamingResponse(pieces(frame, text), media_type="text/event-stream")
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse({**frame, "choices": [choice]})

    async def pieces(frame: dict[str, Any], text: str) -> AsyncIterator[str]:
        size = -(-len(text) // N_PIECES)
        for place in range(0, len(text), size):
            await asyncio.sleep(PIECE_SECONDS)
            choice = {"index": 0, "delta": {"content": text[place : place + size]}}
            yield f"data: {json.dumps({**frame, 'choices': [choice]})}\n\n"
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        yield f"data: {json.dumps({**frame, 'choices': [last]})}\n\ndata: [DONE]\n\n"

    return Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/chat/completions", chat, methods=["POST"]),
        ]
    )


@contextmanager
def process(*command: str, log: IO[str] | int = subprocess.DEVNULL) -> Iterator[None]:
    """Run a server until the block ends."""
    started = subprocess.Popen(
        [sys.executable, "-m", *command], stderr=log, env={**os.environ, "OPENAI_API_KEY": ""}
    )
    try:
        yield
    finally:
        started.terminate()
        started.wait()


def wait_for(url: str) -> None:
    """Wait until a server answers.

    Raises:
        TimeoutError: It did not within half a minute.
    """
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/models", trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing answers at {url}")


def latencies(direct: str, through: str, *, n: int) -> dict[str, Latencies]:
    """Send ``n`` requests each way, in turns, one after the other."""
    ways = {"direct": (direct, "stub")} | {via: (through, f"stub@{via}") for via in VIAS}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with httpx.Client(timeout=30, trust_env=False) as client:
        for turn in range(n + 20):
            for way, (url, model) in ways.items():
                body = {"model": model, "messages": [{"role": "user", "content": TEXT}]}
                began = time.perf_counter()
                answer = client.post(f"{url}/chat/completions", json=body)
                taken = time.perf_counter() - began
                assert answer.json()["choices"][0]["message"]["content"] == TEXT
                if turn >= 20:  # the first ones warm up
                    seconds[way].append(taken)
    return {way: Latencies.of(taken) for way, taken in seconds.items()}


def streams(url: str, model: str, *, n: int) -> Streams:
    """Read ``n`` streams at once to their ends."""

    async def one(client: httpx.AsyncClient) -> bool:
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": TEXT}]}
        text, done = "", False
        try:
            async with client.stream("POST", f"{url}/chat/completions", json=body) as response:
                async for line in response.aiter_lines():
                    done = line == "data: [DONE]"
                    if done:
                        break
                    if line.startswith("data: "):
                        [choice] = json.loads(line.removeprefix("data: "))["choices"]
                        text += choice["delta"].get("content") or ""
        except (httpx.HTTPError, ValueError, KeyError):
            return False
        return done and text == TEXT

    async def every() -> list[bool]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=120, limits=limits, trust_env=False) as client:
            return await asyncio.gather(*(one(client) for _ in range(n)))

    began = time.perf_counter()
    good = asyncio.run(every())
    return Streams(n, good.count(False), time.perf_counter() - began)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    parser.add_argument("--stub", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stub:
        import uvicorn

        uvicorn.run(stub_app(), port=arguments.stub, log_level="error", access_log=False)
        return
    n_requests, n_streams = (50, 50) if arguments.quick else (500, 200)
    upstream, ours = "http://127.0.0.1:8790/v1", "http://127.0.0.1:8791/v1"
    serve = ("palimpsest", "serve", "--upstream", upstream, "--port", "8791")
    with process("benchmarks.serve", "--stub", "8790"), process(*serve):
        wait_for(upstream)
        wait_for(ours)
        show_latencies(latencies(upstream, ours, n=n_requests))
        for url, model, name in ((upstream, "stub", "direct"), (ours, "stub@leet", "leet")):
            result = streams(url, model, n=n_streams)
            print(
                f"{result.n} streams at once, {name}: {result.n_errors} errors, "
                f"{result.seconds:.1f} s"
            )


def show_latencies(measured: dict[str, Latencies]) -> None:
    """Print what each way takes, and what it takes longer than the direct one."""
    direct = measured["direct"]
    for way, taken in measured.items():
        print(f"{way:10} p50 {taken.p50:6.2f} ms   p99 {taken.p99:6.2f} ms", end="")
        if way == "direct":
            print()
            continue
        p50 = taken.p50 - direct.p50
        verdict = "under" if p50 < TARGET_MS else "OVER"
        print(
            f"   overhead p50 {p50:5.2f} ms ({verdict} {TARGET_MS:g}), "
            f"p99 {taken.p99 - direct.p99:5.2f} ms"
        )


if __name__ == "__main__":
    main()
