"""Stop strings in a text: where an answer ends, and where one may yet begin."""

from __future__ import annotations

from collections.abc import Iterable


def first_stop(text: str, stops: Iterable[str], start: int = 0) -> int | None:
    """Return where the first stop string begins, if there is one.

    Example:
        >>> first_stop("12. So", [" ", "."])
        2
    """
    return min((at for stop in stops if (at := text.find(stop, start)) >= 0), default=None)


def cut(text: str, stops: Iterable[str]) -> str:
    r"""Return the text before the first stop string, or all of it.

    Example:
        >>> cut("12\nInput:", ["Input", "\n"])
        '12'
    """
    return text[: first_stop(text, stops)]


def n_open(text: str, stops: Iterable[str]) -> int:
    r"""Return how many characters at the end may be the beginning of a stop string.

    Example:
        >>> n_open("12\n", ["\n\n", "x"])
        1
    """
    lengths = (
        length
        for stop in stops
        for length in range(min(len(stop) - 1, len(text)), 0, -1)
        if text.endswith(stop[:length])
    )
    return max(lengths, default=0)
