"""Where an answer ends: before the first of its stop strings."""

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
