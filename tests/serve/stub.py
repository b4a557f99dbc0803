"""An endpoint that says what it was asked, and fails in the way that the model's name tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
SPLIT = 3
"""Characters in each piece of a stream."""


class Stub:
    """Remembers what it was sent. The names of its models say what they do."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.abandoned: list[str] = []
        """The field ``user`` of requests that were given up."""
        self.app = Starlette(
            routes=[
                Route("/v1/models", self.models),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/completions", self.completions, methods=["POST"]),
            ]
        )

    @property
    def last(self) -> dict[str, Any]:
        return self.requests[-1]

    async def models(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        names = ["echo", "name@with@at", "bare"]
        data = [{"id": name, "object": "model", "created": 1, "owned_by": "us"} for name in names]
        return JSONResponse({"object": "list", "data": data})

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, is_chat=True)

    async def completions(self, request: Request) -> Response:
        return await self._answer(request, is_chat=False)

    async def _answer(self, request: Request, *, is_chat: bool) -> Response:
        content = await request.body()
        body = json.loads(content)
        self.requests.append(body)
        self.bodies.append(content)
        self.headers.append(dict(request.headers))
        failed = await self._fault(body, request)
        if failed is not None:
            return failed
        texts = self._texts(body, is_chat=is_chat)
        if body.get("stream"):
            pieces = self._watched(_stream(body, texts, is_chat=is_chat), body.get("user", ""))
            return StreamingResponse(pieces, media_type="text/event-stream")
        choices = [_whole(i, text, body, is_chat=is_chat) for i, text in enumerate(texts)]
        answer = {**_frame(body, is_chat=is_chat), "choices": choices, "usage": USAGE}
        return Response(json.dumps(answer), media_type="application/json")

    def _texts(self, body: dict[str, Any], *, is_chat: bool) -> list[str]:
        if is_chat:
            content = body["messages"][-1]["content"]
            prompts = [content if isinstance(content, str) else content[0]["text"]]
        else:
            prompt = body["prompt"]
            prompts = [prompt] if isinstance(prompt, str) else prompt
        stops = body.get("stop") or []
        cut = [_cut(prompt, [stops] if isinstance(stops, str) else stops) for prompt in prompts]
        return [text for text in cut for _ in range(body.get("n") or 1)]

    async def _fault(self, body: dict[str, Any], request: Request) -> Response | None:
        match body["model"].split("-"):
            case ["status", code]:
                headers = {"Retry-After": "3"} if code == "429" else {}
                error = {"message": f"no: {code}", "type": "t", "param": None, "code": "c"}
                return JSONResponse({"error": error}, int(code), headers)
            case ["detail"]:
                return JSONResponse({"detail": "Unsupported field: x"}, 422)
            case ["leak"]:
                return JSONResponse({"error": {"message": self.headers[-1]["authorization"]}}, 401)
            case ["hang"]:
                while not await request.is_disconnected():
                    await asyncio.sleep(0.02)
                self.abandoned.append(body.get("user", ""))
            case ["slow"]:
                await asyncio.sleep(0.5)
            case ["garbage"]:
                return Response("<html>", media_type="application/json")
            case ["schema"]:
                return JSONResponse({"choices": "none"})
            case ["redirect"]:
                return Response(status_code=307, headers={"Location": "http://127.0.0.1:1/"})
        return None

    async def _watched(self, pieces: AsyncIterator[str], user: str) -> AsyncIterator[str]:
        try:
            async for piece in pieces:
                yield piece
        except (asyncio.CancelledError, GeneratorExit):
            self.abandoned.append(user)
            raise


async def _stream(body: dict[str, Any], texts: list[str], *, is_chat: bool) -> AsyncIterator[str]:
    model = body["model"]
    frame = _frame(body, is_chat=is_chat)
    if is_chat:
        frame["object"] += ".chunk"
    with_count = {**frame, "usage": USAGE}
    for index, text in enumerate(texts):
        if is_chat and model != "bare":
            yield _event(frame, _part(index, "", is_chat=is_chat, role="assistant"))
        if model == "tools":
            call = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": "{}"}}
            yield _event(frame, _part(index, "", is_chat=is_chat, tool_calls=[call]))
        async for piece in _pieces(model, text):
            yield _event(frame, _part(index, piece, is_chat=is_chat))
        if model == "mute":
            return
        if model == "complains":
            yield _event({**frame, "error": "out of memory"})
            return
        last = _part(index, "", is_chat=is_chat)
        last["finish_reason"] = "tool_calls" if model == "tools" else "stop"
        # Bare is as transformers serve: the count comes along, and no [DONE].
        yield _event(with_count if model == "bare" else frame, last)
    if model == "bare":
        return
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _event(with_count)
    yield ": a comment\n\ndata: [DONE]\n\n"


async def _pieces(model: str, text: str) -> AsyncIterator[str]:
    for place in range(0, len(text), SPLIT):
        if model == "cut" and place > len(text) // 2:
            raise ConnectionResetError
        if model == "endless":
            await asyncio.sleep(0.02)
        yield text[place : place + SPLIT]
    while model == "endless":
        await asyncio.sleep(0.02)
        yield "more "


def _event(frame: dict[str, Any], *choices: dict[str, Any]) -> str:
    return f"data: {json.dumps({**frame, 'choices': choices})}\n\n"


def _part(index: int, text: str, *, is_chat: bool, **delta: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"text": text}
    if is_chat:
        said = {"delta": {**delta, **({"content": text} if text else {})}}
    return {"index": index, **said, "finish_reason": None}


def _frame(body: dict[str, Any], *, is_chat: bool) -> dict[str, Any]:
    kind = "chat.completion" if is_chat else "text_completion"
    return {"id": "x-1", "object": kind, "created": 1, "model": body["model"]}


def _whole(index: int, text: str, body: dict[str, Any], *, is_chat: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"text": text}
    if is_chat:
        said = {"message": {"role": "assistant", "content": text}}
        if body["model"] == "tools":
            call = {
                "id": "call_1",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
            }
            said = {"message": {"role": "assistant", "content": None, "tool_calls": [call]}}
    reason = "tool_calls" if body["model"] == "tools" else "stop"
    return {"index": index, **said, "finish_reason": reason}


def _cut(text: str, stops: list[str]) -> str:
    places = [text.find(stop) for stop in stops if stop in text]
    return text[: min(places)] if places else text
