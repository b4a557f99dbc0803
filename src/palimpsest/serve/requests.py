"""Requests in OpenAI's format: checked, conjugated, and refused where that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from palimpsest.lm import CANNOT_HONOUR, SPOKEN_ROLES, TOOLS_AND_VOTES, Exchange, asks_for
from palimpsest.serve.errors import ApiError, bad_request
from palimpsest.serve.upstream import Body, Endpoint

MOST_STOPS = 16
"""OpenAI takes 4; others take more."""

LONGEST_STOP = 256

_Transform = Callable[[str], str]


class Rewritten(NamedTuple):
    """A request as the upstream gets it."""

    body: dict[str, Any]

    flags: tuple[str, ...]
    """What went wrong in conjugating, such as a line that came back untranslated."""


def check_request(endpoint: Endpoint, body: object) -> Body:
    """Return the request if it has the form that conjugating needs; upstreams check the rest.

    Raises:
        ApiError: 400, with the offending field.
    """
    if not isinstance(body, dict):
        raise bad_request(f"The request is a JSON {_kind(body)}; expected an object.")
    for field in ("stream", "echo"):
        if not isinstance(body.get(field), bool | None):
            raise _wrong(field, body[field], "true or false")
    n = body.get("n")
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
        raise _wrong("n", n, "a whole number above zero")
    options = body.get("stream_options")
    if not isinstance(options, dict | None):
        raise _wrong("stream_options", options, "an object")
    if options and not body.get("stream"):
        raise bad_request("'stream_options' is only for 'stream': true.", "stream_options")
    stops_of(body)
    (_check_chat if endpoint is Endpoint.chat else _check_completion)(body)
    return body


def conjugate_request(
    endpoint: Endpoint, body: Body, exchange: Exchange, *, model: str
) -> Rewritten:
    """Conjugate every text in a request, and its stop strings where that means the same.

    Roles, names, tools and tool calls, images, and the parameters of sampling stay.

    Raises:
        UserError: A translator failed.
    """
    texts = texts_of(endpoint, body)
    exchange.prepare(prompts=texts)
    sent = without_defaults(map_texts(endpoint, body, exchange.apply), endpoint)
    sent["model"] = model
    sent.pop("stop", None)
    if exchange.sent_stops:
        sent["stop"] = list(exchange.sent_stops)
    return Rewritten(sent, exchange.flags(texts))


def check_rewritable(endpoint: Endpoint, body: Body, via: str, *, n_members: int) -> None:
    """Refuse a request that cannot be asked under this conjugation.

    Raises:
        ApiError: 400, with the offending field.
    """
    check_honourable(endpoint, body, via, n_members=n_members)
    prompt = body.get("prompt")
    if isinstance(prompt, list) and not all(isinstance(each, str) for each in prompt):
        raise bad_request(
            f"'prompt' holds token ids, which the conjugation '{via}' cannot rewrite. Send text.",
            "prompt",
            "unsupported_under_conjugation",
        )


def map_texts(endpoint: Endpoint, body: Body, transform: _Transform) -> dict[str, Any]:
    """Return a request with every text in it transformed."""
    if endpoint is Endpoint.chat:
        return {**body, "messages": [_map_message(each, transform) for each in body["messages"]]}
    prompt = body.get("prompt", "")
    if isinstance(prompt, str):
        return {**body, "prompt": transform(prompt)}
    return {**body, "prompt": [transform(each) for each in prompt]}


def texts_of(endpoint: Endpoint, body: Body) -> list[str]:
    """Return every text in a request that is conjugated."""
    texts: list[str] = []

    def note(text: str) -> str:
        texts.append(text)
        return text

    map_texts(endpoint, body, note)
    return texts


def stops_of(body: Body) -> tuple[str, ...]:
    r"""Return the stop strings of a request.

    Raises:
        ApiError: 400 for what are none.

    Example:
        >>> stops_of({"stop": "\n"}), stops_of({"stop": None})
        (('\n',), ())
    """
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else [] if stop is None else stop
    if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
        raise _wrong("stop", stop, "a text or a list of texts")
    if "" in stops:
        raise bad_request("A stop string is empty: it would end every answer at once.", "stop")
    if len(stops) > MOST_STOPS or any(len(each) > LONGEST_STOP for each in stops):
        raise bad_request(
            f"'stop' has {len(stops)} texts, the longest of {max(map(len, stops))} characters; at "
            f"most {MOST_STOPS} of {LONGEST_STOP} characters are taken.",
            "stop",
        )
    return tuple(stops)


def n_choices(endpoint: Endpoint, body: Body) -> int:
    """Return how many answers a request will get.

    Example:
        >>> n_choices(Endpoint.completions, {"prompt": ["a", "b"], "n": 2})
        4
    """
    prompt = body.get("prompt")
    n_prompts = len(prompt) if endpoint is Endpoint.completions and isinstance(prompt, list) else 1
    return n_prompts * int(body.get("n") or 1)


def wants_usage(body: Body) -> bool:
    """Return whether a stream shall end with the count of tokens."""
    return bool((body.get("stream_options") or {}).get("include_usage"))


def _map_message(message: Body, transform: _Transform) -> Body:
    content = message.get("content")
    if message["role"] not in SPOKEN_ROLES or content is None:
        return message
    if isinstance(content, str):
        return {**message, "content": transform(content)}
    return {**message, "content": [_map_part(part, transform) for part in content]}


def _map_part(part: Body, transform: _Transform) -> Body:
    return {**part, "text": transform(part["text"])} if part.get("type") == "text" else part


def _check_chat(body: Body) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages", messages, "a list with at least one message")
    for place, message in enumerate(messages):
        param = f"messages[{place}]"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _wrong(param, message, "an object with a role")
        content = message.get("content")
        if isinstance(content, str | None):
            continue
        if not isinstance(content, list) or not all(map(_is_part, content)):
            raise _wrong(f"{param}.content", content, "a text or a list of content parts")


def _is_part(part: object) -> bool:
    if not isinstance(part, dict):
        return False
    return part.get("type") != "text" or isinstance(part.get("text"), str)


def _check_completion(body: Body) -> None:
    prompt = body.get("prompt")
    if not isinstance(prompt, str | list) or prompt == []:
        raise _wrong("prompt", prompt, "a text or a list of texts")


def _wrong(field: str, value: object, expected: str) -> Exception:
    return bad_request(f"'{field}' is {_kind(value)}; expected {expected}.", field)


def _kind(value: object) -> str:
    """Name a JSON value without repeating it: it may be long, or private."""
    if value is None:
        return "missing or null"
    names: dict[type, str] = {
        bool: "true or false", str: "text", list: "a list", dict: "an object",
    }  # fmt: skip
    if isinstance(value, list) and not value:
        return "an empty list"
    return names.get(type(value), "a number")


_WITH_TOOLS = ("tools", "functions")


def check_honourable(endpoint: Endpoint, body: Body, via: str, *, n_members: int) -> None:
    """Refuse what cannot be honoured under a conjugation.

    Raises:
        ApiError: 400, with the field as ``param``.
    """
    for field, reason in CANNOT_HONOUR.items():
        if asks_for(field, body.get(field), chat=endpoint is Endpoint.chat):
            raise _refused(field, via, reason)
    modalities = body.get("modalities")
    if isinstance(modalities, list) and modalities not in ([], ["text"]):
        raise _refused("modalities", via, CANNOT_HONOUR["audio"])
    if n_members > 1:
        for field in _WITH_TOOLS:
            if body.get(field):
                raise _refused(field, via, TOOLS_AND_VOTES)


def _refused(field: str, via: str, reason: str) -> ApiError:
    return bad_request(
        f"'{field}' cannot be honoured under the conjugation '{via}': {reason}. Leave it out, or "
        "ask the model without a conjugation.",
        field,
        "unsupported_under_conjugation",
    )


def without_defaults(body: Body, endpoint: Endpoint) -> dict[str, Any]:
    """Return a request without the fields that ask for nothing.

    Some servers refuse fields that they do not know even where these say what happens anyway.
    """
    return {field: value for field, value in body.items() if not _is_idle(endpoint, field, value)}


def _is_idle(endpoint: Endpoint, field: str, value: Any) -> bool:
    if field in CANNOT_HONOUR:
        return not asks_for(field, value, chat=endpoint is Endpoint.chat)
    return field in _IDLE and value in _IDLE[field]


_IDLE: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {"n": (None, 1), "best_of": (None, 1), "modalities": (None, [], ["text"])}
)
"""Values that ask for no more than their absence."""
