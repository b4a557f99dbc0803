"""Log-likelihoods from a server that repeats the prompt with the probability of every token."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from palimpsest.lm.models.openai.replies import Echo
from palimpsest.lm.prompts import Prompt

_PART = "\ufffd"
"""How servers write a token that holds only a part of a character's bytes."""


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
