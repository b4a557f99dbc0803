"""Replies of a server: taken apart with every field in doubt, and made safe to show."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from palimpsest.lm.models.openai.requests import Api
from palimpsest.lm.models.protocol import Finish
from palimpsest.lm.prompts import Prompt

_MOST_SHOWN = 300
"""Characters of a server's message that are shown."""

_SHORTEST_SECRET = 8
"""Keys below this length are placeholders such as ``EMPTY``, and may be ordinary words."""

_PART = "\ufffd"
"""How servers write a token that holds only a part of a character's bytes."""

_ROUNDING = 1e-3
"""How far above zero rounding may take a log-probability."""


class WrongReplyError(Exception):
    """A reply with status 200 that is none."""


class Completion(NamedTuple):
    """One generated text."""

    text: str
    """As the server sent it."""
    finish: Finish
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


def parse_completion(value: Mapping[str, object], api: Api) -> Completion:
    """Take a reply apart.

    Raises:
        WrongReplyError: It lacks the text.

    Example:
        >>> body = {"choices": [{"text": " 4", "finish_reason": "stop"}]}
        >>> parse_completion(body, "completions")[:2]
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
    finish: Finish = "length" if reason == "length" else "stop"
    return Completion(text, finish, n_prompt, n_new, reason == "content_filter")


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


def continuation_logprob(echo: Echo, prompt: str, candidate: str) -> float | None:
    """Return the natural-log probability of ``candidate`` after ``prompt``.

    Spaces at the end of the prompt belong to the continuation, and so does a token that begins
    in the prompt and ends behind it, as tokenizers join both to the next word.

    Returns:
        ``None`` if the echo is of another text, or lacks a probability that is needed.

    Example:
        >>> echo = Echo(["2", " +", " 2", " =", " 4"], [None, -1, -2, -1, -0.5], None, "", None)
        >>> continuation_logprob(echo, "2 + 2 =", " 4")
        -0.5
    """
    text, first = prompt + candidate, len(prompt.rstrip())
    starts = _starts(echo, text)
    if starts is not None:
        used = _between(echo, starts, first, len(text))
    elif _PART in "".join(echo.tokens):
        used = _behind(echo, text, first)
    else:
        used = []
    known = [value for value in used if value is not None]
    return sum(known) if used and len(known) == len(used) else None


def has_continuation(prompt: Prompt, candidate: str) -> bool:
    """Tell whether anything is to be scored: a candidate, or spaces that belong to it."""
    return bool(candidate) or (isinstance(prompt, str) and prompt != prompt.rstrip())


def _between(echo: Echo, starts: Sequence[int], first: int, last: int) -> list[float | None]:
    ends = [*starts[1:], starts[-1] + len(echo.tokens[-1])]
    return [
        logprob
        for start, end, logprob in zip(starts, ends, echo.logprobs, strict=True)
        if (end > first or start >= first) and start < last
    ]


def _starts(echo: Echo, text: str) -> list[int] | None:
    """Return where each token starts in ``text``, negative for what stands in front of it."""
    starts = list(itertools.accumulate(map(len, echo.tokens), initial=0))[:-1]
    joined = "".join(echo.tokens)
    for start in starts:  # a start token, such as <s>, may stand in front
        for space in ("", " "):  # and SentencePiece may write a space
            if joined.startswith(space + text, start):
                return [other - start - len(space) for other in starts]
    return None if _PART in joined else _given_offsets(echo, text)


def _given_offsets(echo: Echo, text: str) -> list[int] | None:
    """Trust the server's offsets where it writes parts of characters in a way of its own."""
    if not echo.offsets or not echo.text.startswith(text):
        return None
    rising = all(one <= other for one, other in itertools.pairwise(echo.offsets))
    whole = echo.offsets[0] == 0 and echo.offsets[-1] <= len(text)
    return list(echo.offsets) if rising and whole else None


def _behind(echo: Echo, text: str, first: int) -> list[float | None]:
    """Compare with characters beyond ASCII blurred, as their parts cannot be counted.

    Where such a character ends the prompt and another begins the candidate, their border cannot
    be seen: nothing is returned.
    """
    n_new = 1 if echo.n_new_tokens is None else echo.n_new_tokens
    tokens = echo.tokens[: len(echo.tokens) - n_new]
    context = _blurred(text[:first])
    if context.endswith(_PART) and _blurred(text[first : first + 1]) == _PART:
        return []
    for n_before in (0, 1):  # a start token in front
        if _blurred("".join(tokens[n_before:])) != _blurred(text):
            continue
        n_context = n_before
        for n in range(n_before, len(tokens) + 1):
            if context.startswith(_blurred("".join(tokens[n_before:n]))):
                n_context = n
        return list(echo.logprobs[n_context : len(tokens)])
    return []


def _blurred(text: str) -> str:
    return re.sub(r"[^\x00-\x7f]+", _PART, text)
