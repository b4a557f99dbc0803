"""Limits of answers by what is expected: how much may be said, where it ends, guessing."""

from __future__ import annotations

from collections.abc import Sequence

from palimpsest.lm.suites.suite import Example

ENOUGH_TO_REASON = 256
"""Tokens of an answer that may work something out before it commits itself."""

_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r"}


def unescaped(text: str) -> str:
    r"""Return a text of the command line with ``\n``, ``\t`` and ``\r`` as what they mean.

    Example:
        >>> unescaped(r"Q: a\nA:")
        'Q: a\nA:'
    """
    for written, meant in _ESCAPES.items():
        text = text.replace(written, meant)
    return text


def n_tokens_for(texts: Sequence[str], *, reads_on: bool) -> int:
    """Return how many new tokens are enough for any of the expected texts.

    That is 10 more than the longest has bytes, which does for any tokenizer that works on bytes; or
    :data:`ENOUGH_TO_REASON` where a scorer reads what stands behind a worked answer.
    """
    n = 10 + max((len(text.encode()) for text in texts), default=0)
    return max(n, ENOUGH_TO_REASON) if reads_on else n


def stops_for(stop: str | None, texts: Sequence[str], *, reads_on: bool) -> tuple[str, ...]:
    """Return where answers end: what was asked for, else at a line break if no text has one."""
    if stop is None:
        return () if reads_on or any("\n" in text.strip() for text in texts) else ("\n",)
    stop = unescaped(stop)
    return (stop,) if stop else ()


def chance_of(examples: Sequence[Example]) -> float | None:
    """Return how often drawing among the choices is right, if all examples have some."""
    shares = [
        sum(choice in example.right for choice in example.choices) / len(example.choices)
        for example in examples
        if example.choices
    ]
    return sum(shares) / len(shares) if shares and len(shares) == len(examples) else None
