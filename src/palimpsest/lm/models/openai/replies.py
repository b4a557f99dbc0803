"""What comes back: replies taken apart with every field in doubt, and errors made safe to show."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, cast

from palimpsest.lm.models.openai.requests import Api

_MOST_SHOWN = 300
"""Characters of a server's message that are shown."""

_SHORTEST_SECRET = 8
"""Keys below this length are placeholders such as ``EMPTY``, and may be ordinary words."""


_ROUNDING = 1e-3
"""How far above zero rounding may take a log-probability."""


class WrongReplyError(Exception):
    """A reply with status 200 that is none."""


class Reply(NamedTuple):
    """One generated text."""

    text: str
    """As the server sent it."""
    finish: Literal["stop", "length"]
    """Why it ended."""
    n_prompt_tokens: int | None
    """As the server counts, if it says."""
    n_tokens: int | None
    """New tokens, as the server counts, if it says."""
    filtered: bool
    """Whether a content filter of the server ended the answer."""


class Echo(NamedTuple):
    """The tokens of a text with their natural-log probabilities."""

    tokens: Sequence[str]
    logprobs: Sequence[float | None]
    """``None`` for the first token, which follows nothing."""
    offsets: Sequence[int] | None
    """Where each token starts, in characters, if the server says."""
    text: str
    """What the server gives as the text, which begins with the prompt if it honours ``echo``."""
    n_new_tokens: int | None
    """How many of the last tokens are new, if the server says."""


class ServerError(NamedTuple):
    """What a server says is wrong."""

    message: str
    """Safe to show."""
    param: str | None
    """The field that it is about."""
    code: str
    """Codes and types, joined; to look into, not to show."""


def parse_json(data: bytes, secret: str | None) -> Mapping[str, object]:
    """Return the JSON object in a reply, with every copy of the key removed.

    Raises:
        WrongReplyError: It is no JSON object, or an error under status 200.
    """
    try:
        value = _without(secret, json.loads(data))
    except (ValueError, RecursionError) as error:
        raise WrongReplyError("a reply that is not JSON") from error
    if not isinstance(value, dict):
        raise WrongReplyError("a reply that is no JSON object")
    if value.get("error"):
        raise WrongReplyError(f"an error: {server_error(data, secret).message}")
    return value


def parse_reply(value: Mapping[str, object], api: Api) -> Reply:
    """Take a reply apart.

    Raises:
        WrongReplyError: It lacks the text.

    Example:
        >>> parse_reply({"choices": [{"text": " 4", "finish_reason": "stop"}]}, "completions")[:2]
        (' 4', 'stop')
    """
    choice = _first_choice(value)
    match choice:
        case {"text": str(text)} if api == "completions":
            pass
        case {"message": {"content": str(text)}} if api == "chat":
            pass
        case {"message": {"role": str(), "content": None}} if api == "chat":
            text = ""  # a refusal, or nothing but reasoning up to the limit
        case _:
            raise WrongReplyError("a reply without a text")
    reason = choice.get("finish_reason")
    n_prompt, n_new = token_counts(value)
    finish: Literal["stop", "length"] = "length" if reason == "length" else "stop"
    return Reply(text, finish, n_prompt, n_new, reason == "content_filter")


def parse_echo(value: Mapping[str, object]) -> Echo | None:
    """Return the log-probabilities in a reply, or ``None`` if the server gave none."""
    choice = _first_choice(value)
    match choice.get("logprobs"):
        case {"tokens": [*tokens], "token_logprobs": [*logprobs], **rest}:
            pass
        case _:
            return None
    if len(tokens) != len(logprobs) or not all(isinstance(token, str) for token in tokens):
        raise WrongReplyError("log-probabilities that do not belong to their tokens")
    if not all(value is None or _is_logprob(value) for value in logprobs):
        raise WrongReplyError("log-probabilities that are none")
    offsets = _offsets(rest.get("text_offset"), len(tokens))
    return Echo(tokens, logprobs, offsets, str(choice.get("text", "")), token_counts(value)[1])


def _offsets(value: object, n_tokens: int) -> list[int] | None:
    valid = isinstance(value, list) and len(value) == n_tokens and all(map(_is_count, value))
    return cast(list[int], value) if valid else None


def token_counts(value: Mapping[str, object]) -> tuple[int | None, int | None]:
    """Return the tokens of prompt and answer, each ``None`` if the server does not say."""
    usage = value.get("usage")
    if not isinstance(usage, dict):
        return None, None
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    known = [count if isinstance(count, int) and _is_count(count) else None for count in counts]
    return known[0], known[1]


def server_error(data: bytes, secret: str | None) -> ServerError:
    r"""Return what an error's body says, in any of the usual forms.

    Example:
        >>> server_error(b'{"error": {"message": "No\\u001b[2J model", "code": "404"}}', None)
        ServerError(message='No [2J model', param=None, code='404')
        >>> server_error(b'{"detail": "Not Found"}', None).message
        'Not Found'
    """
    text = redacted(data.decode("utf-8", "replace"), secret)
    try:
        value = _without(secret, json.loads(data))
    except (ValueError, RecursionError):
        return ServerError(shown(re.sub(r"<[^>]*>", " ", text)), None, "")
    if isinstance(value, dict):
        value = value.get("error") or value.get("detail") or value.get("message") or value
    if not isinstance(value, dict):
        return ServerError(shown(value if isinstance(value, str) else json.dumps(value)), None, "")
    message = value.get("message")
    param = value.get("param")
    code = " ".join(str(value[name]) for name in ("code", "type") if value.get(name))
    return ServerError(
        shown(message if isinstance(message, str) else json.dumps(value)),
        param if isinstance(param, str) else None,
        code,
    )


def shown(text: str) -> str:
    """Return a server's text in one short line without control characters."""
    printable = "".join(
        letter if letter.isprintable() else " " for letter in text[: 8 * _MOST_SHOWN]
    )
    line = " ".join(printable.split())
    return line if len(line) <= _MOST_SHOWN else line[:_MOST_SHOWN] + "…"


def redacted(text: str, secret: str | None) -> str:
    """Remove the key, should a server repeat it.

    Example:
        >>> redacted("Invalid key sk-123456789", "sk-123456789")
        'Invalid key [key]'
    """
    if secret is None or len(secret) < _SHORTEST_SECRET:
        return text
    return text.replace(secret, "[key]")


def _without(secret: str | None, value: object) -> object:
    """Remove the key after parsing: in JSON it could be spelled in several ways."""
    match value:
        case str():
            return redacted(value, secret)
        case list():
            return [_without(secret, part) for part in value]
        case dict():
            return {name: _without(secret, part) for name, part in value.items()}
    return value


def _first_choice(value: Mapping[str, object]) -> Mapping[str, object]:
    match value.get("choices"):
        case [dict() as choice, *_]:
            return choice
    raise WrongReplyError("a reply without choices")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _is_logprob(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value <= _ROUNDING
