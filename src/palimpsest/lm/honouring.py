"""Settings of a request that cannot be honoured under a conjugation, and why."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_TOKENS = "it is about the tokens of the conjugated text, which the inverted answer does not have"
_FORMAT = "the model answers in conjugated text, which has not that form"

CANNOT_HONOUR: Mapping[str, str] = MappingProxyType(
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
"""Settings of a request, by OpenAI's and vLLM's names, that cannot be honoured under a conjugation,
each with the reason that the one who asks is told."""

TOOLS_AND_VOTES = "calls of tools cannot be put to the vote"


def asks_for(field: str, value: Any, *, chat: bool = True) -> bool:
    """Return whether the value of a setting asks for anything.

    Example:
        >>> asks_for("logprobs", False), asks_for("logprobs", 0, chat=False)
        (False, True)
    """
    if field == "logprobs" and not chat:
        return value is not None and value is not False  # 0 asks for the chosen token's
    if field == "response_format":
        return value is not None and value != {"type": "text"}
    return bool(value)
