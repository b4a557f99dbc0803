"""Next tokens of an endpoint, from the log-probabilities that come with an answer of one token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from palimpsest.lm.models.openai.replies import PART, WrongReplyError, first_choice, is_logprob
from palimpsest.lm.models.openai.requests import Api, ApiRequest, Dialect, generation_request
from palimpsest.lm.models.openai.wording import wording
from palimpsest.lm.models.protocol import NextToken
from palimpsest.lm.prompts import Prompt, plain_text


class TokenChance(NamedTuple):
    """A token as a server writes it."""

    text: str
    """Without a character that is not whole."""

    log_probability: float
    """Natural; minus infinity where the server says that it is impossible."""


class TokenTable:
    """Numbers for the tokens that an endpoint names, which are texts there."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def text(self, tokens: Sequence[int]) -> str:
        """Return what tokens are together."""
        return "".join(self._texts[token] for token in tokens)

    def next(self, beginning: tuple[int, ...], told: TokenChance) -> NextToken:
        """Return a token behind a beginning; one that ends the answer has no text."""
        ends = told.text in wording()["end_tokens"]["texts"]
        text = "" if ends else told.text
        number = self._numbers.setdefault(text, len(self._texts))
        if number == len(self._texts):
            self._texts.append(text)
        tokens = (*beginning, number)
        return NextToken(tokens, self.text(tokens), told.log_probability, ends)


def next_token_request(
    prompt: Prompt,
    beginning: str,
    *,
    model: str,
    n: int,
    dialect: Dialect,
    api: Api,
    temperature: str = "0",
    template: Mapping[str, object] | None = None,
) -> ApiRequest:
    """Return the request for one token, with the likeliest ones in its place.

    Args:
        prompt: Text, or messages.
        beginning: Of the answer; only text goes on from one.
        model: As the server calls it.
        n: How many tokens are wanted; the dialect may know that fewer are told.
        dialect: What the server understands.
        api: Which of its two it is asked by.
        temperature: As for an answer.
        template: Variables of its chat template.
    """
    most = min(n, dialect.most_logprobs)
    chat = api == "chat"
    request = generation_request(
        prompt if chat else plain_text(prompt) + beginning,
        model=model,
        api=api,
        max_new_tokens=1,
        temperature=temperature,
        template=template,
        dialect=dialect,
    )
    wanted = {"logprobs": True, "top_logprobs": most} if chat else {"logprobs": most}
    return request._replace(body={**request.body, **wanted})


def parse_next_tokens(value: Mapping[str, object]) -> list[TokenChance] | None:
    """Return the tokens that a reply says might have come first, the likeliest first.

    Servers write them as a list of tokens or, for completions, as one object.

    Returns:
        ``None`` if the server gave none.

    Raises:
        WrongReplyError: It is no reply, or its log-probabilities are none.

    Example:
        >>> told = {"top_logprobs": [{" a": -0.5, " b": -1.5}]}
        >>> parse_next_tokens({"choices": [{"logprobs": told}]})[1].text
        ' b'
        >>> told = {"content": [{"top_logprobs": [{"token": "a", "logprob": -0.5}]}]}
        >>> parse_next_tokens({"choices": [{"logprobs": told}]})[0].log_probability
        -0.5
    """
    match first_choice(value).get("logprobs"):
        case {"content": [{"top_logprobs": [*listed]}, *_]}:
            pairs = [_listed(each) for each in listed]
        case {"top_logprobs": [{**named}, *_]}:
            pairs = list(named.items())
        case _:
            return None
    found = []
    for text, chance in pairs:
        if not (isinstance(text, str) and is_logprob(chance)):
            raise WrongReplyError("log-probabilities that are none")
        found.append(TokenChance(text.rstrip(PART), min(cast(float, chance), 0.0)))
    return sorted(found, key=lambda told: -told.log_probability) or None


def _listed(value: object) -> tuple[object, object]:
    match value:
        case {"token": str(text), "logprob": chance, **rest}:
            data = rest.get("bytes")
            return (text if data is None else _decoded(data, text)), chance
    return None, None


def _decoded(data: object, text: str) -> str:
    """Return bytes as text, as servers write parts of characters in ways of their own."""
    try:
        return bytes(data).decode("utf-8", "replace")  # type: ignore[call-overload,no-any-return]
    except (TypeError, ValueError):
        return text
