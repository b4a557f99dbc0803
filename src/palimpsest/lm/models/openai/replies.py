"""Replies of a server: taken apart with every field in doubt, and made safe to show."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from palimpsest.lm.models.openai.requests import Api
from palimpsest.lm.models.openai.wording import ending_of
from palimpsest.lm.models.protocol import Finish
from palimpsest.lm.network import strict_json
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.stops import answer_start

_MOST_SHOWN = 300
"""Characters of a server's message that are shown."""

_MOST_SAID = 8192
"""Characters of an error that are looked into."""

_DEEPEST = 6
"""So deep are texts looked for in typed parts and errors: servers go to three."""

_SHORTEST_SECRET = 8
"""Keys below this length are placeholders such as ``EMPTY``, and may be ordinary words."""

PART = "\ufffd"
"""How servers write a token that holds only a part of a character's bytes."""

_ROUNDING = 1e-3
"""How far above zero rounding may take a log-probability."""


class WrongReplyError(Exception):
    """A reply with status 200 that is none; perhaps it says what is wrong."""

    def __init__(self, what: str, error: ServerError | None = None) -> None:
        super().__init__(what)
        self.error = error


class Completion(NamedTuple):
    """One generated text."""

    text: str
    """As the server sent it; a thought that it sent apart stands in front, in ``<think>``."""
    finish: Finish
    n_prompt_tokens: int | None
    """As the server counts, if it says."""
    n_tokens: int | None
    """New tokens without those of the thought, as the server counts, if it says."""

    @property
    def is_thought(self) -> bool:
        """Whether the model thought and did not answer."""
        start = answer_start(self.text)
        return start is None or (start > 0 and not self.text[start:].strip())


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
    said: str
    """The beginning of all of it in small letters; to look into, not to show."""


def parse_json(data: bytes, secret: str | None) -> Mapping[str, object]:
    """Return the JSON object in a reply, with every copy of the key removed.

    Raises:
        WrongReplyError: It is no JSON object, or an error under status 200.
    """
    try:
        value = _without(secret, strict_json(data))
    except (ValueError, RecursionError) as error:
        raise WrongReplyError("a reply that is not JSON") from error
    if not isinstance(value, dict):
        raise WrongReplyError("a reply that is no JSON object")
    if value.get("error"):
        said = server_error(data, secret)
        raise WrongReplyError(f"an error: {said.message}", said)
    return value


def parse_completion(value: Mapping[str, object], api: Api) -> Completion:
    """Take a reply apart.

    Raises:
        WrongReplyError: It lacks the text, or says that making it failed.

    Example:
        >>> body = {"choices": [{"text": " 4", "finish_reason": "stop"}]}
        >>> parse_completion(body, "completions")[:2]
        (' 4', 'stop')
    """
    choice = first_choice(value)
    ending = ending_of(choice.get("finish_reason"))
    if ending == "failed":
        raise WrongReplyError(f"an answer that ended with '{shown(str(choice['finish_reason']))}'")
    if api == "completions":
        if not isinstance(choice.get("text"), str):
            raise WrongReplyError("a reply without a text")
        text = str(choice["text"])
    else:
        text, refused = _message(choice.get("message"))
        ending = "refused" if refused else ending
    n_prompt, n_new, n_thought = token_counts(value)
    n_answer = None if n_new is None else n_new - n_thought
    return Completion(text, ending, n_prompt, n_answer)


def _message(message: object) -> tuple[str, bool]:
    """Return the text of a chat message, and whether it is a refusal; without content, none."""
    if not isinstance(message, dict) or not message:
        raise WrongReplyError("a reply without a message")
    text, thought = _content(message.get("content"))
    fields = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks")
    said = (thought, *(_texts_in(message.get(name)) for name in fields))
    refusal = message.get("refusal")
    refused = not text.strip() and bool(_texts_in(refusal))
    text = _texts_in(refusal) if refused else text
    return _joined(next(filter(str.strip, said), ""), text), refused


def _content(content: object) -> tuple[str, str]:
    """Return the answer and the thought in a content: text, typed parts, or nothing."""
    match content:
        case None:
            return "", ""
        case str():
            return content, ""
        case dict():
            return _content([content])
        case list():
            texts: list[str] = []
            thoughts: list[str] = []
            for part in content:
                kind = str(part.get("type")) if isinstance(part, dict) else ""
                is_thought = "think" in kind or "reason" in kind
                (thoughts if is_thought else texts).append(_texts_in(part))
            return "".join(texts), "".join(thoughts)
    raise WrongReplyError("a reply without a text")


def _texts_in(value: object, deepest: int = _DEEPEST) -> str:
    """Return the texts in a typed part, joined, whatever field they are in."""
    if isinstance(value, str):
        return value
    if deepest == 0:
        return ""
    match value:
        case list():
            return "".join(_texts_in(part, deepest - 1) for part in value)
        case dict():
            fields = ("text", "thinking", "reasoning", "content", "summary", "value", "refusal")
            return "".join(_texts_in(value.get(name), deepest - 1) for name in fields)
    return ""


def _joined(thought: str, text: str) -> str:
    """Return a thought with its answer in the form in which models write them by themselves."""
    opening, closing = "<think>", "</think>"
    if answer_start(text) == 0 and closing in text:  # its template had opened the thought
        return f"{opening}\n{text.lstrip()}"
    if not thought.strip() or answer_start(text) != 0:
        return text
    marked = f"{opening}\n{thought.strip().replace(closing, '')}"
    return f"{marked}\n{closing}\n\n{text}" if text.strip() else marked


def parse_echo(value: Mapping[str, object]) -> Echo | None:
    """Return the log-probabilities in a reply, or ``None`` if the server gave none."""
    choice = first_choice(value)
    match choice.get("logprobs"):
        case {"tokens": [*tokens], "token_logprobs": [*logprobs], **rest}:
            pass
        case _:
            return None
    if len(tokens) != len(logprobs) or not all(isinstance(token, str) for token in tokens):
        raise WrongReplyError("log-probabilities that do not belong to their tokens")
    if not all(value is None or is_logprob(value) for value in logprobs):
        raise WrongReplyError("log-probabilities that are none")
    offsets = _offsets(rest.get("text_offset"), len(tokens))
    return Echo(tokens, logprobs, offsets, str(choice.get("text", "")), token_counts(value).n_new)


def _offsets(value: object, n_tokens: int) -> list[int] | None:
    valid = isinstance(value, list) and len(value) == n_tokens and all(map(_is_count, value))
    return cast(list[int], value) if valid else None


class TokenCounts(NamedTuple):
    """Tokens as the server counts them, ``None`` if it does not say."""

    n_prompt: int | None
    n_new: int | None
    """All that were made, those of a thought included."""
    n_thought: int = 0
    """As far as the server tells them apart."""


def token_counts(value: Mapping[str, object]) -> TokenCounts:
    """Return the tokens of a reply.

    Most servers count a thought among the new tokens, and xAI beside them: the total tells.

    Example:
        >>> details = {"reasoning_tokens": 5}
        >>> usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 10}
        >>> token_counts({"usage": {**usage, "completion_tokens_details": details}})
        TokenCounts(n_prompt=3, n_new=7, n_thought=5)
    """
    usage = value.get("usage")
    if not isinstance(usage, dict):
        return TokenCounts(None, None)
    details = usage.get("completion_tokens_details")
    apart = details if isinstance(details, dict) else usage
    named = ("prompt_tokens", "completion_tokens", "total_tokens")
    n_prompt, n_new, total = (_count(usage.get(name)) for name in named)
    n_thought = _count(apart.get("reasoning_tokens")) or 0
    if n_new is None:
        return TokenCounts(n_prompt, None)
    beside = total is not None and n_prompt is not None and total == n_prompt + n_new + n_thought
    if beside or n_thought > n_new:
        n_new += n_thought
    return TokenCounts(n_prompt, n_new, n_thought)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and _is_count(value) else None


def server_error(data: bytes, secret: str | None) -> ServerError:
    r"""Return what an error's body says, in any of the usual forms.

    Example:
        >>> server_error(b'{"error": {"message": "No\\u001b[2J model", "code": "404"}}', None)[:3]
        ('No [2J model', None, '404')
        >>> server_error(b'{"detail": "Not Found"}', None).message
        'Not Found'
        >>> server_error(b'[{"detail": [{"loc": ["body", "stop"], "msg": "Extra"}]}]', None)[:2]
        ('body.stop: Extra', 'stop')
    """
    text = redacted(data[: 4 * _MOST_SAID].decode("utf-8", "replace"), secret)
    try:
        found = _found(_without(secret, strict_json(data)))
    except (ValueError, RecursionError):
        text = _TAGS.sub(" ", text[:_MOST_SAID])
        return ServerError(shown(text), None, "", text.lower())
    message = found.message or text
    said = f"{found.code} {message} {text}"[:_MOST_SAID].lower()
    return ServerError(shown(message), found.param, found.code, said)


_TAGS = re.compile(r"<[^<>]*>")
"""Without ``<`` inside: else a body of ``<`` alone takes quadratic time."""


_SAYING = ("error", "detail", "message", "msg", "errors")
"""Fields of an error that say what is wrong, or hold what does."""


class _Found(NamedTuple):
    message: str = ""
    param: str | None = None
    code: str = ""


def _found(value: object, deepest: int = _DEEPEST) -> _Found:
    """Return what an error says, however it is wrapped: in objects, lists, or JSON in a text."""
    match value:
        case str():
            try:
                inner = strict_json(value) if value.startswith(("{", "[")) else None
            except ValueError:
                inner = None
            found = _found(inner, deepest - 1) if inner and deepest else _Found()
            return found if found.message else _Found(value)
        case [first, *_] if deepest:
            return _found(first, deepest - 1)
        case {"msg": str(message), "loc": [*place]}:  # as pydantic says it
            names = [str(name) for name in place]
            return _Found(f"{'.'.join(names)}: {message}", names[-1] if names else None)
        case dict() if deepest:
            inside = (_found(value.get(name), deepest - 1) for name in _SAYING)
            found = next((one for one in inside if one.message), _Found())
            param = value.get("param")
            codes = [str(value[name]) for name in ("code", "type") if value.get(name)]
            return _Found(
                found.message,
                found.param or (param if isinstance(param, str) else None),
                " ".join(filter(None, (found.code, *codes))),
            )
    return _Found()


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


def first_choice(value: Mapping[str, object]) -> Mapping[str, object]:
    """Return the first answer in a reply.

    Raises:
        WrongReplyError: It has none.
    """
    match value.get("choices"):
        case [dict() as choice, *_]:
            return choice
    raise WrongReplyError("a reply without choices")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def is_logprob(value: object) -> bool:
    """Return whether a value can be a log-probability, but for rounding."""
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
    elif PART in "".join(echo.tokens):
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
    return None if PART in joined else _given_offsets(echo, text)


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
    if context.endswith(PART) and _blurred(text[first : first + 1]) == PART:
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
    return re.sub(r"[^\x00-\x7f]+", PART, text)
