"""Wording of servers: what a refusal is about, and why an answer ended.

The words themselves are data, in ``wording.toml``, each with its source.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal

OfPrompt = Literal["too long", "filtered", "no room"]
"""Why one prompt gets no answer. With ``no room``, thinking used up the limit of tokens."""

Ending = Literal["stop", "length", "filtered", "refused", "failed"]
"""Why an answer ended; one that failed is to be asked for again."""

_PHRASES: Mapping[str, OfPrompt] = {
    "no_room": "no room",
    "filtered": "filtered",
    "too_long": "too long",
}
_SIZED = ("prompt", "input", "context", "sequence", "message")
_EXCEEDED = ("too long", "too large", "exceed", "longer than", "larger than", "overflow")


@cache
def wording() -> Mapping[str, Any]:
    """Return the data of ``wording.toml``."""
    return tomllib.loads(files(__package__).joinpath("wording.toml").read_text("utf-8"))


def told_of_prompt(said: str) -> OfPrompt | None:
    """Return what a known refusal tells of the prompt; ``said`` is in small letters.

    Example:
        >>> told_of_prompt("this model's maximum context length is 8 tokens")
        'too long'
    """
    phrases: Mapping[str, Sequence[str]] = wording()["says"]
    for name, meaning in _PHRASES.items():
        if any(phrase in said for phrase in phrases[name]):
            return meaning
    return None


def sounds_too_long(said: str) -> bool:
    """Return whether an unknown refusal, in small letters, sounds like one of a long prompt.

    Example:
        >>> sounds_too_long("input exceeds context length"), sounds_too_long("wrong input")
        (True, False)
    """
    return any(word in said for word in _EXCEEDED) and any(word in said for word in _SIZED)


def ending_of(reason: object) -> Ending:
    """Return what a server's ``finish_reason`` means; an unknown one is an ordinary end.

    Example:
        >>> ending_of("MAX_TOKENS"), ending_of("eos"), ending_of(None)
        ('length', 'stop', 'stop')
    """
    named: Mapping[Ending, Sequence[str]] = wording()["finish"]
    text = str(reason).rpartition(".")[2].lower()
    return next((ending for ending, texts in named.items() if text in texts), "stop")
