"""Requests to a model in this process: what it can honour, and answers in OpenAI's format."""

from __future__ import annotations

import time
import uuid
from typing import Any, NamedTuple

from palimpsest.errors import did_you_mean
from palimpsest.lm import Message, Prompt, asks_for
from palimpsest.lm.models import Generation
from palimpsest.serve.errors import ApiError, bad_request
from palimpsest.serve.requests import check_request, stops_of
from palimpsest.serve.upstream import Body, Endpoint

DEFAULT_MAX_TOKENS = {Endpoint.completions: 16, Endpoint.chat: 256}
"""Length of answers to requests that do not say; 16 is OpenAI's for completions."""

MOST_PROMPTS = 128

_READ = {"model", "messages", "prompt", "max_tokens", "max_completion_tokens", "stop", "n"}
_READ |= {"stream", "stream_options"}

_WITHOUT_EFFECT = {"temperature", "top_p", "seed", "user", "metadata", "store", "service_tier"}
_WITHOUT_EFFECT |= {"safety_identifier", "prompt_cache_key", "parallel_tool_calls", "top_k"}
"""Taken and not used: decoding is greedy, and nothing is kept. A temperature must be 0."""

_REFUSED = {
    "best_of": "it answers greedily, so that all answers would be the same",
    "presence_penalty": "it answers greedily",
    "frequency_penalty": "it answers greedily",
    "logit_bias": "it answers greedily",
    "logprobs": "it does not tell the probabilities of tokens",
    "top_logprobs": "it does not tell the probabilities of tokens",
    "echo": "it gives new text only",
    "suffix": "it continues text and fills no gaps",
    "tools": "it calls no tools",
    "functions": "it calls no tools",
    "tool_choice": "it calls no tools",
    "function_call": "it calls no tools",
    "response_format": "it answers with plain text",
    "audio": "it answers with plain text",
    "prediction": "it has no use for it",
    "reasoning_effort": "it has no use for it",
    "verbosity": "it has no use for it",
    "web_search_options": "it searches nothing",
}


class LocalRequest(NamedTuple):
    """A request as a local model can be asked it."""

    prompts: list[Prompt]
    max_new_tokens: int
    stop: tuple[str, ...]
    n: int
    """How often each answer is given; greedy ones are all the same."""


def parse_local(endpoint: Endpoint, body: Body) -> LocalRequest:
    """Return what a local model is asked.

    Raises:
        ApiError: 400 for what it cannot honour, or a field that no request has.
    """
    check_request(endpoint, body)
    _check_fields(endpoint, body)
    n = int(body.get("n") or 1)
    prompts: list[Prompt]
    if endpoint is Endpoint.chat:
        prompts = [tuple(_message(place, each) for place, each in enumerate(body["messages"]))]
    else:
        prompt = body["prompt"]
        prompts = [prompt] if isinstance(prompt, str) else prompt
        if not all(isinstance(each, str) for each in prompts):
            raise bad_request("'prompt' holds token ids; this model takes text.", "prompt")
    if len(prompts) * n > MOST_PROMPTS:
        raise bad_request(
            f"The request asks for {len(prompts) * n} answers; at most {MOST_PROMPTS} are given.",
            "n" if n > 1 else "prompt",
        )
    return LocalRequest(prompts, _max_new_tokens(endpoint, body), stops_of(body), n)


def _check_fields(endpoint: Endpoint, body: Body) -> None:
    for field, value in body.items():
        if (
            field in _REFUSED
            and field != "best_of"
            and asks_for(field, value, chat=endpoint is Endpoint.chat)
        ):
            raise _unsupported(field, _REFUSED[field])
        if field not in _REFUSED and field not in _READ | _WITHOUT_EFFECT:
            known = (*_READ, *_WITHOUT_EFFECT)
            raise bad_request(
                f"No request has a field '{field[:80]}'.{did_you_mean(field[:80], known)}",
                field[:80],
            )
    if body.get("best_of") not in (None, 1):
        raise _unsupported("best_of", _REFUSED["best_of"])
    if body.get("temperature") not in (None, 0):
        raise bad_request(
            "This model answers greedily; 'temperature' must be 0 or left out.",
            "temperature",
            "unsupported_by_model",
        )


def _unsupported(field: str, reason: str) -> ApiError:
    return bad_request(
        f"'{field}' cannot be honoured by this model: {reason}.", field, "unsupported_by_model"
    )


def _max_new_tokens(endpoint: Endpoint, body: Body) -> int:
    for field in ("max_completion_tokens", "max_tokens"):
        value = body.get(field)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise bad_request(f"'{field}' must be a whole number above zero.", field)
        return value
    return DEFAULT_MAX_TOKENS[endpoint]


def _message(place: int, message: Body) -> Message:
    content = message.get("content")
    if message.get("tool_calls"):
        raise _unsupported(f"messages[{place}].tool_calls", "it calls no tools")
    if isinstance(content, list):
        if any(part.get("type") != "text" for part in content):
            raise _unsupported(f"messages[{place}].content", "it reads text only")
        content = "".join(part["text"] for part in content)
    return Message(message["role"], content or "")


_FRAMES = {
    Endpoint.chat: ("chatcmpl", "chat.completion"),
    Endpoint.completions: ("cmpl", "text_completion"),
}


def new_frame(endpoint: Endpoint, model: str, *, stream: bool) -> dict[str, Any]:
    """Return what answers and chunks have besides choices and usage."""
    prefix, kind = _FRAMES[endpoint]
    if stream and endpoint is Endpoint.chat:
        kind += ".chunk"
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def usage_of(generations: list[Generation]) -> dict[str, int] | None:
    """Add up the tokens; nothing if the back end does not count those of the prompt."""
    if any(each.n_prompt_tokens is None for each in generations):
        return None
    n_prompt = sum(each.n_prompt_tokens or 0 for each in generations)
    n_new = sum(each.n_tokens for each in generations)
    return {
        "prompt_tokens": n_prompt,
        "completion_tokens": n_new,
        "total_tokens": n_prompt + n_new,
    }


def finish_reason(generation: Generation) -> str:
    """Return why an answer ended, in OpenAI's words."""
    return "length" if generation.finish == "length" else "stop"


def choice(endpoint: Endpoint, index: int, text: str, reason: str) -> Body:
    """Return one finished answer."""
    said: Body = {"text": text}
    if endpoint is Endpoint.chat:
        said = {"message": {"role": "assistant", "content": text}}
    return {"index": index, **said, "logprobs": None, "finish_reason": reason}


def part(endpoint: Endpoint, index: int, text: str, reason: str | None = None) -> Body:
    """Return one piece of an answer in a stream."""
    said: Body = {"text": text}
    if endpoint is Endpoint.chat:
        said = {"delta": {"content": text} if text else {}}
    return {"index": index, **said, "logprobs": None, "finish_reason": reason}
