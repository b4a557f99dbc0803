"""Requests under conjugations: rewritten, asked, inverted, and put to the vote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from palimpsest.errors import UserError
from palimpsest.lm import ConjugationError, Exchange, Form, off_loop
from palimpsest.lm.conjugations import TextEnsemble, TooLongError, agreeing
from palimpsest.serve.choosing import SEPARATOR, Chosen
from palimpsest.serve.errors import ApiError, sentence
from palimpsest.serve.requests import (
    Rewritten,
    check_rewritable,
    conjugate_request,
    n_choices,
    stops_of,
    texts_of,
    wants_usage,
)
from palimpsest.serve.streaming import StreamInverter, chunks_of, content_text, malformed
from palimpsest.serve.upstream import Body, Endpoint, Streamed, Upstream, WholeAnswer

_T = TypeVar("_T")


class InvertedAnswer(NamedTuple):
    """An inverted answer with what is known beside it."""

    body: Body
    headers: dict[str, str]
    flags: tuple[str, ...]
    form: Form
    """In which the model answered; ``mixed`` where its answers differ in it."""


class InvertedStream(NamedTuple):
    """A stream of inverted chunks that has begun."""

    chunks: AsyncIterator[Body]
    headers: dict[str, str]
    flags: tuple[str, ...]


class ConjugatedRequest:
    """One request under one choice of conjugations.

    Args:
        upstream: Who answers.
        endpoint: Chat or completions.
        body: The request, checked.
        chosen: The model and its conjugations.
        most_characters: How long the conjugated request may be.

    Raises:
        ApiError: 400 for what cannot be honoured under a conjugation.
    """

    def __init__(
        self,
        upstream: Upstream,
        endpoint: Endpoint,
        body: Body,
        chosen: Chosen,
        *,
        most_characters: int,
    ) -> None:
        self._upstream = upstream
        self._endpoint = endpoint
        self._body = body
        self._chosen = chosen
        stops = stops_of(body)
        members = chosen.ensemble.members
        most = most_characters // len(members)
        self._exchanges = [Exchange(each, stops, most_characters=most) for each in members]
        if not chosen.is_identity:
            n_members = len(chosen.ensemble.members)
            check_rewritable(endpoint, body, chosen.ensemble.name, n_members=n_members)

    async def answer(self) -> InvertedAnswer:
        """Return the answer in one piece."""
        ensemble = self._chosen.ensemble
        body = {name: value for name, value in self._body.items() if name != "stream_options"}
        asked = await all_of([self._ask(each, body) for each in self._exchanges])
        flags = tuple(dict.fromkeys(flag for each in asked for flag in each.flags))
        answer = combined(ensemble, self._endpoint, [each.body for each in asked])
        form = asked[0].form if len({each.form for each in asked}) == 1 else "mixed"
        body = {**answer, "model": self._name(answer)}
        return InvertedAnswer(body, asked[0].headers, flags, form)

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[InvertedStream]:
        """Begin a stream of inverted chunks; leaving the context stops the upstream.

        An ensemble's answer comes whole, when all its members have answered.
        """
        usage = wants_usage(self._body)
        if len(self._exchanges) > 1:
            async with aclosing(self._stream_whole(usage)) as chunks:
                yield InvertedStream(chunks, {}, ())
            return
        [exchange] = self._exchanges
        request = await self._rewrite(exchange, self._body)
        body = {**request.body, "stream": True}
        async with self._upstream.stream(self._endpoint, body) as streamed:
            inverter = StreamInverter(
                self._endpoint,
                exchange,
                n_choices=n_choices(self._endpoint, self._body),
                model=self._name({}),
                usage=usage,
            )
            async with aclosing(_inverting(inverter, streamed)) as chunks:
                yield InvertedStream(chunks, dict(streamed.headers), request.flags)

    async def _stream_whole(self, usage: bool) -> AsyncGenerator[Body]:
        asked = await self.answer()
        for chunk in chunks_of(self._endpoint, asked.body, usage=usage):
            yield chunk

    async def _ask(self, exchange: Exchange, body: Body) -> InvertedAnswer:
        request = await self._rewrite(exchange, body)
        body = {name: value for name, value in request.body.items() if name != "stream"}
        answered = await self._upstream.complete(self._endpoint, body)
        answer, flags, form = await self._invert(exchange, answered)
        return InvertedAnswer(answer, dict(answered.headers), (*request.flags, *flags), form)

    async def _rewrite(self, exchange: Exchange, body: Body) -> Rewritten:
        n_characters = sum(map(len, texts_of(self._endpoint, body)))
        slow = exchange.is_slow(n_characters, sending=True)
        try:
            return await off_loop(
                slow, conjugate_request, self._endpoint, body, exchange, model=self._chosen.model
            )
        except UserError as error:
            raise conjugation_failed(error) from error

    async def _invert(
        self, exchange: Exchange, answered: WholeAnswer
    ) -> tuple[Body, tuple[str, ...], Form]:
        choices = answered.body.get("choices")
        if not isinstance(choices, list) or not all(isinstance(each, dict) for each in choices):
            raise malformed("an answer's choices")
        texts = [text for each in choices if (text := text_of(self._endpoint, each))]
        slow = exchange.is_slow(sum(map(len, texts)))

        def invert_all() -> tuple[Body, tuple[str, ...], Form]:
            exchange.prepare(answers=texts)
            inverted = [inverted_choice(self._endpoint, each, exchange) for each in choices]
            forms = {exchange.form(text) for text in texts}
            form: Form = forms.pop() if len(forms) == 1 else "mixed" if forms else "conjugated"
            return {**answered.body, "choices": inverted}, exchange.answer_flags(texts), form

        try:
            return await off_loop(slow, invert_all)
        except UserError as error:
            raise conjugation_failed(error) from error

    def _name(self, answer: Body) -> str:
        """Return what answers call the model: the upstream's name with the conjugation."""
        model = str(answer.get("model") or self._chosen.model)
        chosen = self._chosen
        return model if chosen.is_identity else f"{model}{SEPARATOR}{chosen.ensemble.name}"


async def _inverting(inverter: StreamInverter, streamed: Streamed) -> AsyncGenerator[Body]:
    try:
        async for chunk in inverter.rewrite(streamed.chunks):
            yield chunk
    except UserError as error:
        raise conjugation_failed(error) from error


def conjugation_failed(error: UserError) -> Exception:
    """Return the error for a prompt or answer that could not be rewritten.

    A prompt that would become too long is the client's. What a plugin raised may hold the prompt:
    it is a failure of the server, which tells nobody.
    """
    if isinstance(error, ConjugationError) and isinstance(error.__cause__, Exception):
        return error.__cause__
    if isinstance(error, TooLongError):
        return ApiError(413, sentence(error), code="request_too_large")
    return ApiError(502, sentence(error), code="conjugation_failed")


def text_of(endpoint: Endpoint, choice: Body) -> str | None:
    """Return the text of a finished choice; a call of a tool has none.

    Raises:
        ApiError: 502 for a choice in an unknown form.
    """
    if endpoint is Endpoint.completions:
        text = choice.get("text")
    else:
        message = choice.get("message")
        if not isinstance(message, dict):
            raise malformed("a message")
        text = message.get("content")
    return content_text(text)


def inverted_choice(endpoint: Endpoint, choice: Body, exchange: Exchange) -> Body:
    """Return a finished choice with its text inverted and cut before the first stop string."""
    text = text_of(endpoint, choice)
    if text is None:
        return choice
    reader = exchange.reader()
    reader.append(text)
    plain = reader.finish()
    reason = "stop" if reader.stopped else choice.get("finish_reason")
    rewritten = {**choice, "finish_reason": reason, "logprobs": None}
    if endpoint is Endpoint.completions:
        return {**rewritten, "text": plain}
    # Annotations point to places in the conjugated text.
    message = {name: value for name, value in choice["message"].items() if name != "annotations"}
    if reader.thought.strip():  # where clients of thinking models look for it
        message.setdefault("reasoning_content", reader.thought.strip())
    return {**rewritten, "message": {**message, "content": plain}}


def combined(ensemble: TextEnsemble, endpoint: Endpoint, answers: Sequence[Body]) -> Body:
    """Return the vote of all members on each choice, with the tokens of all of them.

    Raises:
        ApiError: 502 if members gave different numbers of answers, or one of them none.
    """
    first = answers[0]
    if len(answers) == 1:
        return first
    numbers = {len(answer["choices"]) for answer in answers}
    if len(numbers) > 1:
        raise ApiError(
            502, "The members of the vote got different numbers of answers.", code="upstream_error"
        )
    choices = []
    for ballots in zip(*(answer["choices"] for answer in answers), strict=True):
        texts = [text_of(endpoint, ballot) or "" for ballot in ballots]
        winner = agreeing(texts)[0]
        choices.append({**ballots[winner], **_with_text(endpoint, ensemble.combine(texts))})
    return {**first, "choices": choices, "usage": summed([each.get("usage") for each in answers])}


def _with_text(endpoint: Endpoint, text: str) -> dict[str, Any]:
    if endpoint is Endpoint.completions:
        return {"text": text}
    return {"message": {"role": "assistant", "content": text}}


def summed(usages: Sequence[Any]) -> dict[str, int] | None:
    """Add up the counts of tokens; nothing if an upstream did not count.

    Example:
        >>> summed([{"prompt_tokens": 3, "total_tokens": 4}, {"prompt_tokens": 2}])
        {'prompt_tokens': 5, 'completion_tokens': 0, 'total_tokens': 4}
    """
    if not all(isinstance(usage, dict) for usage in usages):
        return None
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {name: sum(usage.get(name) or 0 for usage in usages) for name in names}


async def all_of(coroutines: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Run all at once; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
