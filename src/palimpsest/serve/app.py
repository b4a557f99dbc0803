"""The server as an ASGI app: its paths, and what every request goes through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from palimpsest.lm import strict_json
from palimpsest.serve import sse
from palimpsest.serve.choosing import SEPARATOR, VIA_HEADER, Chooser, Chosen
from palimpsest.serve.conjugated import ConjugatedRequest
from palimpsest.serve.errors import ApiError, bad_request
from palimpsest.serve.limits import (
    BodyBudget,
    ClientGoneError,
    Slots,
    check_framing,
    check_host,
    check_token,
    read_body,
    while_wanted,
)
from palimpsest.serve.logs import RequestLog, log_failure
from palimpsest.serve.replying import STREAM_HEADERS, Reply
from palimpsest.serve.requests import check_request
from palimpsest.serve.settings import ServeSettings
from palimpsest.serve.streaming import text_pieces
from palimpsest.serve.upstream import Body, Endpoint, Raw, Upstream

HEALTH_PATH = "/health"
_BODIES = 32
"""Requests of the greatest length that may be arriving at a time."""

CLIENT_GONE = 499
"""What the log calls the status of a request that its client gave up, as nginx does."""


def create_app(settings: ServeSettings, upstream: Upstream | None = None) -> Starlette:
    """Return the server for these settings.

    Args:
        settings: All choices.
        upstream: Used instead of what the settings name.

    Raises:
        UserError: No such upstream or conjugation.
    """
    behind = open_upstream(settings) if upstream is None else upstream
    service = _Service(settings, behind)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await behind.aclose()

    return Starlette(
        routes=[
            Route(HEALTH_PATH, _health),
            Route("/v1/models", service.list_models),
            Route("/v1/models/{name:path}", service.show_model),
            *(
                Route(f"/v1{endpoint}", _Ask(service, endpoint), methods=["POST"])
                for endpoint in Endpoint
            ),
        ],
        middleware=[Middleware(_Gate, settings=settings)],
        exception_handlers={HTTPException: _not_routed},
        lifespan=lifespan,
    )


def open_upstream(settings: ServeSettings) -> Upstream:
    """Return the upstream that the settings name: a URL, or else the spec of a local model.

    Raises:
        UserError: No such model, or a malformed URL.
    """
    if settings.upstream.startswith(("http://", "https://")):
        from palimpsest.serve.upstream_http import HttpUpstream

        return HttpUpstream(settings)
    from palimpsest.serve.upstream_local import LocalUpstream

    return LocalUpstream(settings)


class _Service:
    """What all requests share."""

    def __init__(self, settings: ServeSettings, upstream: Upstream) -> None:
        self.settings = settings
        self.upstream = upstream
        self.slots = Slots(settings.max_concurrent)
        self.bodies = BodyBudget(_BODIES * settings.max_body_bytes)
        self.chooser = Chooser(settings.via, settings.offer, self._names)

    async def list_models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": await self._models()})

    async def show_model(self, request: Request) -> Response:
        name = request.path_params["name"]
        chosen = await self.chooser.choose(name, None)
        for model in await self.upstream.models():
            if model["id"] == chosen.model:
                return JSONResponse(_variant(model, name) if chosen.renamed else dict(model))
        raise ApiError(
            404, f"No model named '{chosen.model}'.", param="model", code="model_not_found"
        )

    async def _models(self) -> list[Body]:
        models = await self.upstream.models()
        variants = (
            _variant(model, f"{model['id']}{SEPARATOR}{spec}")
            for model in models
            for spec in self.chooser.offered
        )
        return [*models, *variants]

    async def _names(self) -> list[str]:
        return [model["id"] for model in await self.upstream.models()]


def _variant(model: Body, name: str) -> dict[str, Any]:
    return {**model, "id": name, "root": model["id"], "parent": model["id"]}


class _Ask:
    """Answers requests at one of the two endpoints."""

    def __init__(self, service: _Service, endpoint: Endpoint) -> None:
        self._service = service
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._service.settings
        reply: Reply = scope["state"]["reply"]
        record: RequestLog = scope["state"]["record"]
        headers = Headers(scope=scope)
        content = await read_body(receive, headers, settings, self._service.bodies)
        with self._service.slots.taken():
            work = self._answer(content, headers.get(VIA_HEADER), reply, record)
            await while_wanted(work, receive, timeout_seconds=settings.timeout_seconds)

    async def _answer(
        self, content: bytes, header: str | None, reply: Reply, record: RequestLog
    ) -> None:
        body = _parse(content)
        chosen = await self._service.chooser.choose(body.get("model"), header)
        record.model, record.via = chosen.model, chosen.ensemble.name
        record.stream = body.get("stream") is True
        if self._service.settings.log_prompts:
            record.texts["prompt"] = body.get("messages", body.get("prompt"))
        if chosen.is_identity:
            if chosen.renamed:
                content = json.dumps({**body, "model": chosen.model}).encode()
            relayed = self._service.upstream.relay(self._endpoint, content)
            if relayed is not None:
                async with relayed as raw:
                    await _pass_on(raw, reply)
                return
        checked = check_request(self._endpoint, body)
        most = self._service.settings.max_conjugated_characters
        asks = ConjugatedRequest(
            self._service.upstream, self._endpoint, checked, chosen, most_characters=most
        )
        await (self._stream if record.stream else self._whole)(asks, chosen, reply, record)

    async def _whole(
        self, asks: ConjugatedRequest, chosen: Chosen, reply: Reply, record: RequestLog
    ) -> None:
        asked = await asks.answer()
        record.flags, record.usage = asked.flags, asked.body.get("usage")
        self._log_answer(record, asked.body)
        headers = {**asked.headers, **_about(chosen, asked.flags)}
        if not chosen.is_identity:
            headers["X-Palimpsest-Answer"] = asked.form
        await reply.whole(asked.body, headers)

    async def _stream(
        self, asks: ConjugatedRequest, chosen: Chosen, reply: Reply, record: RequestLog
    ) -> None:
        begun = False
        async with asks.stream() as asked:
            record.flags = asked.flags
            events = sse.with_comments(
                self._events(asked.chunks, record),
                every_seconds=self._service.settings.keep_alive_seconds,
            )
            async with aclosing(events):
                async for piece in events:
                    if not begun:  # an error before this has its own status
                        begun = True
                        headers = {**asked.headers, **_about(chosen, asked.flags), **STREAM_HEADERS}
                        await reply.begin(200, headers)
                    await reply.write(piece)
        await reply.end()

    async def _events(
        self, chunks: AsyncIterator[Body], record: RequestLog
    ) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            record.usage = chunk.get("usage") or record.usage
            self._log_answer(record, chunk)
            yield sse.event(chunk)
        yield sse.DONE

    def _log_answer(self, record: RequestLog, body: Body) -> None:
        if self._service.settings.log_prompts:
            answers = record.texts.setdefault("answers", {})
            for index, text in text_pieces(body):
                answers[index] = answers.get(index, "") + text


async def _pass_on(raw: Raw, reply: Reply) -> None:
    """Send what the upstream sends, byte by byte."""
    await reply.begin(raw.status, raw.headers)
    content = raw.content
    is_stream = raw.headers.get("content-type", "").startswith(sse.MEDIA_TYPE)
    if is_stream and "content-encoding" not in raw.headers:
        content = sse.closed_by_done(content)
    async for piece in content:
        await reply.write(piece)
    await reply.end()


def _about(chosen: Chosen, flags: tuple[str, ...]) -> dict[str, str]:
    """Return headers that say what was done with the request."""
    headers = {VIA_HEADER: quote(chosen.ensemble.name, safe="|(),:@=+ ")}
    if flags:
        headers["X-Palimpsest-Flags"] = quote(",".join(flags), safe=", ")
    return headers


def _parse(content: bytes) -> dict[str, Any]:
    try:
        body = strict_json(content.decode())
    except UnicodeDecodeError as error:
        raise bad_request(
            f"The request is not UTF-8: byte {error.start} is {content[error.start]:#04x}.",
            code="invalid_json",
        ) from error
    except ValueError as error:
        raise bad_request(
            f"The request is not valid JSON: {error}.", code="invalid_json"
        ) from error
    if not isinstance(body, dict):
        raise bad_request("The request is JSON, but no object.", code="invalid_json")
    return body


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path[:200]}"
    message = {
        404: f"There is nothing at '{what}'.",
        405: f"'{what}' is not possible there.",
    }.get(error.status_code, error.detail)
    failed = ApiError(error.status_code, message, code="not_found")
    return Response(
        failed.body(), error.status_code, headers=error.headers, media_type="application/json"
    )


class _Gate:
    """Lets requests in, turns errors into answers, and logs what became of each."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        record = RequestLog(scope["method"], scope["path"], client and client[0])
        reply = Reply(send, record)
        scope.setdefault("state", {}).update(record=record, reply=reply)
        try:
            headers = Headers(scope=scope)
            check_framing(headers)
            check_host(headers, self._settings)
            if scope["path"] != HEALTH_PATH:
                check_token(headers, self._settings)
            await self._app(scope, receive, reply.send)
        except ApiError as error:
            await reply.fail(error)
        except ClientGoneError:
            record.status = CLIENT_GONE
        except asyncio.CancelledError:
            # The server stops, and the time of grace is over. The task ends here in any case.
            await reply.fail(ApiError(503, "The server is stopping.", code="stopping"))
        except Exception as error:
            log_failure(error, record.id)
            await reply.fail(ApiError(500, f"The server failed; its log has more at {record.id}."))
        finally:
            record.write()
