"""Requests of the two APIs, with no field more than needed, since some servers refuse others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from palimpsest.errors import UserError
from palimpsest.lm.models.sampling import Sampling
from palimpsest.lm.prompts import Message, Prompt, map_text, plain_text, texts_of, valid_unicode

Api = Literal["chat", "completions"]

_MOST_STOPS = 4
"""How many stop strings the API takes; answers are cut at all of them when they arrive."""

FEWEST_LOGPROBS = 5
"""So many likeliest tokens every server tells that tells any."""

_CHAT_OVERHEAD = 16
"""Tokens around each message that a chat template may add."""


@dataclass(frozen=True)
class Dialect:
    """The variant of the API that a server understands; learnt from what it refuses."""

    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The field for the number of new tokens."""

    stops: bool = True
    """Whether stop strings are sent; without them, longer answers are paid for and cut here."""

    temperature: bool = True
    """Whether ``temperature=0`` is sent; without it, the server samples if it is its habit."""

    most_logprobs: int = 20
    """How many likeliest tokens are asked for: 20 are the most of OpenAI's chats and of vLLM unless
    it is told otherwise, 5 of OpenAI's completions."""
    seed: bool = True
    """Whether the seed of a sample is sent; without it, the server draws as it likes."""

    def after_refusal(self, param: str | None, said: str) -> Dialect | None:
        """Return what to try after a refusal, or ``None`` if it is about something else.

        It is about the field that it names first: it may go on with all that are known.

        Example:
            >>> Dialect().after_refusal("max_tokens", "use 'max_completion_tokens' instead.").limit
            'max_completion_tokens'
            >>> Dialect().after_refusal("model", "no such model.") is None
            True
        """
        named = _FIELD.search(param or "") or _FIELD.search(said)
        field = named[1].lower() if named else ""
        if field.startswith("stop"):
            return replace(self, stops=False) if self.stops else None
        if field == "temperature":
            return replace(self, temperature=False) if self.temperature else None
        if field.endswith("logprobs"):
            fewer = replace(self, most_logprobs=FEWEST_LOGPROBS)
            return fewer if self.most_logprobs > FEWEST_LOGPROBS else None
        if field == "seed":
            return replace(self, seed=False) if self.seed else None
        if field and self.limit == "max_tokens" and "max_completion_tokens" in said:
            return replace(self, limit="max_completion_tokens")
        return None

    def __str__(self) -> str:
        """Say what the server is asked without, or in other words; nothing if all is usual."""
        return ", ".join(
            text
            for text, differs in (
                ("max_completion_tokens for max_tokens", self.limit != "max_tokens"),
                ("no stop strings, which are applied here", not self.stops),
                ("no temperature=0: it may sample", not self.temperature),
                ("no seed: another run draws other samples", not self.seed),
            )
            if differs
        )


_FIELD = re.compile(
    r"\b(stop(?:[-_ ]?(?:sequence|string|word)s?)?|temperature|seed|(?:top_)?logprobs"
    r"|max_(?:completion_)?tokens)\b",
    re.IGNORECASE,
)
"""The fields that can be left out or renamed, as servers and what stands behind them call them."""


class ApiRequest(NamedTuple):
    """One question as the server gets it."""

    path: str
    """After the base URL."""
    body: Mapping[str, object]
    """As JSON."""
    most_prompt_tokens: int
    """More than these the prompt cannot have: no tokenizer makes more tokens than bytes."""
    most_new_tokens: int
    """What the answer is limited to."""


def api_of(prompt: Prompt, api: Api | None) -> Api:
    """Return which API a prompt goes to: messages to ``chat``, text to ``completions``."""
    return api or ("completions" if isinstance(prompt, str) else "chat")


def generation_request(
    prompt: Prompt,
    *,
    model: str,
    api: Api,
    max_new_tokens: int,
    stop: Sequence[str] = (),
    temperature: str = "0",
    sampling: Sampling | None = None,
    template: Mapping[str, object] | None = None,
    dialect: Dialect,
) -> ApiRequest:
    """Return the request for one answer.

    Under ``chat``, a text becomes one user message; under ``completions``, messages become text.

    Example:
        >>> request = generation_request(
        ...     "2 + 2 =", model="m", api="completions", max_new_tokens=3, dialect=Dialect()
        ... )
        >>> dict(request.body)
        {'model': 'm', 'prompt': '2 + 2 =', 'max_tokens': 3, 'temperature': 0}
    """
    prompt = map_text(prompt, valid_unicode)
    body: dict[str, object] = {"model": model}
    if api == "completions":
        body["prompt"] = plain_text(prompt)
    else:
        messages = (Message("user", prompt),) if isinstance(prompt, str) else prompt
        body["messages"] = [{"role": each.role, "content": each.content} for each in messages]
        if template:
            body["chat_template_kwargs"] = dict(template)
    body[dialect.limit] = max_new_tokens
    if sampling is not None:
        body |= _sampled(sampling, prompt, model, dialect)
    elif temperature != "default" and dialect.temperature:
        body["temperature"] = 0
    if stop and dialect.stops:
        body["stop"] = [valid_unicode(text) for text in stop[:_MOST_STOPS]]
    path = "/completions" if api == "completions" else "/chat/completions"
    return ApiRequest(path, body, _most_tokens(prompt), max_new_tokens)


def _sampled(how: Sampling, prompt: Prompt, model: str, dialect: Dialect) -> dict[str, object]:
    """Return the fields of a sample; its seed is its own, so that no two are alike.

    Raises:
        UserError: The server takes no temperature.
    """
    if not dialect.temperature:
        raise UserError(
            f"The server takes no temperature for '{model}', so its answers cannot be drawn at "
            f"{how.temperature:g}.",
            hint="Leave out --samples, or ask a model whose temperature can be chosen.",
        )
    fields: dict[str, object] = {"temperature": how.temperature}
    if how.top_p < 1:
        fields["top_p"] = how.top_p
    if dialect.seed:
        fields["seed"] = how.seed_of(plain_text(prompt)) % 2**31
    return fields


def echo_request(text: str, *, model: str) -> ApiRequest:
    """Return the request for the log-probability of every token of ``text``.

    One new token is asked for, as lm-evaluation-harness does: some servers refuse to make none.
    """
    text = valid_unicode(text)
    body = {
        "model": model,
        "prompt": text,
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": 1,
        "echo": True,
    }
    return ApiRequest("/completions", body, _most_tokens(text), 1)


def _most_tokens(prompt: Prompt) -> int:
    return sum(len(text.encode()) + _CHAT_OVERHEAD for text in texts_of(prompt)) + _CHAT_OVERHEAD
