"""Log-likelihoods from a server that repeats the prompt with the probability of every token."""

from __future__ import annotations

import itertools

from palimpsest.lm.models.openai.replies import Echo


def continuation_logprob(echo: Echo, prompt: str, candidate: str) -> float | None:
    """Return the natural-log probability of ``candidate`` after ``prompt``.

    Spaces at the end of the prompt belong to the continuation, and so does a token that begins
    in the prompt and ends behind it, as tokenizers join both to the next word.

    Returns:
        ``None`` if the echo is of another text, or lacks a probability that is needed.

    Example:
        >>> echo = Echo(["2", " +", " 2", " =", " 4"], [None, -1, -2, -1, -0.5], None, "")
        >>> continuation_logprob(echo, "2 + 2 =", " 4")
        -0.5
    """
    text = prompt + candidate
    starts = _starts(echo, text)
    if starts is None:
        return None
    first = len(prompt.rstrip())
    ends = [*starts[1:], starts[-1] + len(echo.tokens[-1])]
    used = [
        logprob
        for start, end, logprob in zip(starts, ends, echo.logprobs, strict=True)
        if (end > first or start >= first) and start < len(text)
    ]
    known = [value for value in used if value is not None]
    return sum(known) if used and len(known) == len(used) else None


def _starts(echo: Echo, text: str) -> list[int] | None:
    """Return where each token starts in ``text``, negative for what stands in front of it."""
    starts = list(itertools.accumulate(map(len, echo.tokens), initial=0))[:-1]
    joined = "".join(echo.tokens)
    for start in starts:  # a start token, such as <s>, may stand in front
        for space in ("", " "):  # and SentencePiece may write a space
            if joined.startswith(space + text, start):
                return [other - start - len(space) for other in starts]
    return _given_offsets(echo, text)


def _given_offsets(echo: Echo, text: str) -> list[int] | None:
    """Trust the server's offsets where tokens are not text, as with parts of characters."""
    if not echo.offsets or not echo.text.startswith(text):
        return None
    rising = all(one <= other for one, other in itertools.pairwise(echo.offsets))
    whole = echo.offsets[0] == 0 and echo.offsets[-1] <= len(text)
    return list(echo.offsets) if rising and whole else None
