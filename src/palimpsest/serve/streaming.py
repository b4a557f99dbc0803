"""A stream of conjugated chunks to a stream of plain ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from palimpsest.lm import Exchange, Reader, off_loop
from palimpsest.serve.errors import ApiError
from palimpsest.serve.upstream import Body, Endpoint

_FINISHED = "stop"


@dataclass
class _Choice:
    """One of the answers in a stream."""

    reader: Reader
    begun: bool = False
    ended: bool = False
    thought: str = ""
    reason: str | None = None
    """Why it ends, as the upstream says; some say so on every chunk and yet go on."""

    def new_thought(self) -> str:
        """Return the thought before the answer, once: as soon as the answer has begun."""
        known, self.thought = self.thought, self.reader.thought.strip()
        return "" if known else self.thought


class StreamInverter:
    """Rewrites the chunks of one stream.

    Each answer begins with its role, goes on with what is certain, and ends with one chunk that
    has a ``finish_reason``. Calls of tools pass as they are. Chunks that would say nothing are left
    out. The count of tokens comes last, in a chunk without choices, if the client asked for it.

    Args:
        endpoint: Of the request.
        exchange: By which the model was asked.
        n_choices: How many answers the stream will hold.
        model: What the chunks call the model.
        usage: Whether the client wants the count of tokens.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        exchange: Exchange,
        *,
        n_choices: int,
        model: str,
        usage: bool,
    ) -> None:
        self._endpoint = endpoint
        self._exchange = exchange
        self._n_choices = n_choices
        self._model = model
        self._wants_usage = usage
        self._choices: dict[int, _Choice] = {}
        self._frame: dict[str, Any] = {}
        self.usage: Body | None = None
        """The upstream's count of tokens, once it is known."""

    async def rewrite(self, chunks: AsyncIterator[Body]) -> AsyncIterator[Body]:
        """Yield what the client gets for these chunks.

        Raises:
            ApiError: 502 for chunks that are none, an upstream that stops in the middle, or an
                answer that cannot be inverted.
        """
        async for chunk in chunks:
            self._frame |= {
                name: value for name, value in chunk.items() if name not in ("choices", "usage")
            }
            if isinstance(chunk.get("usage"), dict):
                self.usage = chunk["usage"]
            for choice in _choices_of(chunk):
                async for rewritten in self._rewrite_choice(choice):
                    yield self._chunk([rewritten])
            if self._all_stopped and not self._wants_usage:
                return  # which has the upstream stop: nothing that it might say would be shown
        for index, state in self._choices.items():
            if not state.ended:
                # Some servers end without a reason; what is held back is due all the same.
                async for rewritten in self._end(state, {"index": index}):
                    yield self._chunk([rewritten])
        if self._wants_usage and self.usage is not None:
            yield {**self._chunk([]), "usage": self.usage}

    @property
    def _all_stopped(self) -> bool:
        n_stopped = sum(state.reader.stopped for state in self._choices.values())
        return n_stopped >= self._n_choices

    async def _rewrite_choice(self, choice: Body) -> AsyncIterator[Body]:
        index = choice.get("index", 0)
        if not isinstance(index, int):
            raise malformed("the index of a choice")
        state = self._choices.get(index)
        if state is None:
            state = _Choice(self._exchange.reader())
            self._choices[index] = state
        if state.ended:
            return
        frame = {"index": index}
        text, other = self._read(choice)
        if self._endpoint is Endpoint.chat and not state.begun:
            other = {"role": "assistant", "content": "", **other}
        if other:
            yield self._write(frame, None, other)
        state.begun = True
        new = await self._inverted(state, text) if text else ""
        thought = state.new_thought()
        if thought and self._endpoint is Endpoint.chat:
            yield self._write(frame, None, {"reasoning_content": thought})
        if new:
            yield self._write(frame, new, {})
        state.reason = choice.get("finish_reason") or state.reason
        if state.reader.stopped:
            async for rewritten in self._end(state, frame):
                yield rewritten

    async def _end(self, state: _Choice, frame: Body) -> AsyncIterator[Body]:
        state.ended = True
        rest = await off_loop(state.reader.is_slow, state.reader.finish)
        if rest:
            yield self._write(frame, rest, {})
        reason = _FINISHED if state.reader.stopped else state.reason or _FINISHED
        yield {**self._write(frame, None, {}), "finish_reason": reason}

    async def _inverted(self, state: _Choice, text: str) -> str:
        return await off_loop(state.reader.is_slow, state.reader.feed, text)

    def _read(self, choice: Body) -> tuple[str, dict[str, Any]]:
        """Return the text of a choice, and what else its delta holds."""
        if self._endpoint is Endpoint.completions:
            return content_text(choice.get("text")) or "", {}
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict):
            raise malformed("a delta")
        other = {name: value for name, value in delta.items() if name != "content" and value}
        return content_text(delta.get("content")) or "", other

    def _write(self, frame: Body, text: str | None, other: Body) -> dict[str, Any]:
        # As OpenAI has it: every chunk says that it is not the last, and that it has no logprobs.
        if self._endpoint is Endpoint.completions:
            said: dict[str, Any] = {"text": text or ""}
        else:
            said = {"delta": {**other} if text is None else {"content": text}}
        return {**frame, **said, "logprobs": None, "finish_reason": None}

    def _chunk(self, choices: list[Body]) -> dict[str, Any]:
        return {**self._frame, "model": self._model, "choices": choices}


def _choices_of(chunk: Body) -> list[Body]:
    choices = chunk.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(each, dict) for each in choices):
        raise malformed("a chunk's choices")
    return choices


def content_text(content: Any) -> str | None:
    """Return the text of an answer's content, which may be typed parts; thoughts are none of it.

    Raises:
        ApiError: 502 for content in an unknown form.

    Example:
        >>> content_text([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "12"}])
        '12'
    """
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise malformed("an answer's text")
    texts = [part.get("text") for part in content if part.get("type") in ("text", "output_text")]
    if not all(isinstance(text, str) for text in texts):
        raise malformed("a part of an answer's text")
    return "".join(map(str, texts))


def malformed(what: str) -> ApiError:
    """Return the error for an upstream that does not speak OpenAI's format."""
    return ApiError(502, f"The upstream sent {what} in an unknown form.", code="upstream_error")


def chunks_of(endpoint: Endpoint, answer: Body, *, usage: bool) -> list[Body]:
    """Return a finished answer as the chunks of a stream.

    Example:
        >>> answer = {"id": "x", "choices": [{"index": 0, "text": "12", "finish_reason": "stop"}]}
        >>> [chunk["choices"][0]["text"] for chunk in chunks_of(
        ...     Endpoint.completions, answer, usage=False)]
        ['12', '']
    """
    frame = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    if endpoint is Endpoint.chat:
        frame["object"] = "chat.completion.chunk"
    chunks: list[Body] = [
        {**frame, "choices": [part]}
        for choice in answer["choices"]
        for part in _parts_of(endpoint, choice)
    ]
    if usage and answer.get("usage") is not None:
        chunks.append({**frame, "choices": [], "usage": answer["usage"]})
    return chunks


def _parts_of(endpoint: Endpoint, choice: Body) -> list[Body]:
    index, reason = choice.get("index", 0), choice.get("finish_reason")
    base = {"index": index, "logprobs": None}
    if endpoint is Endpoint.completions:
        return [
            {**base, "text": choice["text"], "finish_reason": None},
            {**base, "text": "", "finish_reason": reason},
        ]
    message = choice["message"]
    said = {"content": message["content"]} if message.get("content") else {}
    deltas = [{"role": "assistant", "content": ""}, said, {}]
    return [
        {**base, "delta": delta, "finish_reason": reason if place == len(deltas) - 1 else None}
        for place, delta in enumerate(deltas)
    ]


def text_pieces(body: Body) -> list[tuple[int, str]]:
    """Return the texts in an answer or a chunk, each with the index of its choice."""
    return [
        (choice.get("index", 0), content_text(said.get("content") or said.get("text")) or "")
        for choice in body.get("choices") or []
        for said in (choice.get("message") or choice.get("delta") or choice,)
    ]
