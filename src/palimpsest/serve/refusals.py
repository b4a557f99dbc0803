"""What a request may not ask for when its text is conjugated, and why."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from palimpsest.serve.errors import ApiError, bad_request
from palimpsest.serve.upstream import Body, Endpoint

_TOKENS = "it is about the tokens of the conjugated text, which the inverted answer does not have"
_FORMAT = "the model answers in conjugated text, which has not that form"

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "logprobs": _TOKENS,
        "top_logprobs": _TOKENS,
        "prompt_logprobs": _TOKENS,
        "logit_bias": _TOKENS,
        "return_token_ids": _TOKENS,
        "bad_words": _TOKENS,
        "allowed_token_ids": _TOKENS,
        "echo": "the prompt would come back conjugated, and as a part of the answer",
        "suffix": "the text after the answer is no message or prompt that can be conjugated alone",
        "prediction": "it foretells the answer in plain text, but the model answers conjugated",
        "response_format": _FORMAT,
        "guided_json": _FORMAT,
        "guided_regex": _FORMAT,
        "guided_choice": _FORMAT,
        "guided_grammar": _FORMAT,
        "structured_outputs": _FORMAT,
        "json_schema": _FORMAT,
        "grammar": _FORMAT,
        "audio": "speech cannot be inverted",
        "web_search_options": "its citations point to places in the conjugated answer",
        "include_stop_str_in_output": "answers are cut before a stop string, after inversion",
    }
)
"""Fields that cannot be honoured under a conjugation, with the reason that the client is told."""

_WITH_TOOLS = ("tools", "functions")


def check_honourable(endpoint: Endpoint, body: Body, via: str, *, n_members: int) -> None:
    """Refuse what cannot be honoured under a conjugation.

    Raises:
        ApiError: 400, with the field as ``param``.
    """
    for field, reason in REASONS.items():
        if asks(endpoint, field, body.get(field)):
            raise _refused(field, via, reason)
    modalities = body.get("modalities")
    if isinstance(modalities, list) and modalities not in ([], ["text"]):
        raise _refused("modalities", via, REASONS["audio"])
    if n_members > 1:
        for field in _WITH_TOOLS:
            if body.get(field):
                raise _refused(field, via, "calls of tools cannot be put to the vote")


def asks(endpoint: Endpoint, field: str, value: Any) -> bool:
    """Return whether the value of a field asks for anything.

    Example:
        >>> asks(Endpoint.chat, "logprobs", False), asks(Endpoint.completions, "logprobs", 0)
        (False, True)
    """
    if field == "logprobs" and endpoint is Endpoint.completions:
        return value is not None and value is not False  # 0 asks for the chosen token's
    if field == "response_format":
        return value is not None and value != {"type": "text"}
    return bool(value)


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
    if field in REASONS:
        return not asks(endpoint, field, value)
    return field in _IDLE and value in _IDLE[field]


_IDLE: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {"n": (None, 1), "best_of": (None, 1), "modalities": (None, [], ["text"])}
)
"""Values that ask for no more than their absence."""
