"""Beginning and end of an answer: behind a thought, and before the first stop string."""

from __future__ import annotations

from collections.abc import Iterable


def first_stop(text: str, stops: Iterable[str], start: int = 0) -> int | None:
    """Return where the first stop string begins, if there is one.

    Example:
        >>> first_stop("12. So", [" ", "."])
        2
    """
    first = None
    for stop in stops:
        at = text.find(stop, start)
        if at >= 0 and (first is None or at < first):
            first = at
    return first


THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
)
"""How models mark what they think before they answer."""

_OPENINGS = frozenset(opening[0] for opening, _ in THOUGHTS)


def answer_start(text: str) -> int | None:
    r"""Return where the answer begins, behind a thought that opens the text; ``None`` before it.

    Example:
        >>> answer_start("<think>Well.</think>\n\nParis"), answer_start("Paris")
        (22, 0)
        >>> answer_start("<think>Well") is None
        True
    """
    body = text.lstrip()
    if body[:1] not in _OPENINGS:
        return 0
    for opening, closing in THOUGHTS:
        if body.startswith(opening):
            end = text.find(closing)
            if end < 0:
                return None
            answer = text[end + len(closing) :]
            return len(text) - len(answer.lstrip())
    return 0


def open_thought(text: str) -> str:
    r"""Return the mark by which a thought begins at the end of a text, or nothing.

    Chat templates of thinking models end so.

    Example:
        >>> open_thought("Which?<|assistant|><think>\n"), open_thought("Which?")
        ('<think>\n', '')
    """
    body = text.rstrip()
    mark = next((opening for opening, _ in THOUGHTS if body.endswith(opening)), "")
    return mark and text[len(body) - len(mark) :]


def without_thought(text: str) -> str:
    r"""Return a text with the thought closed, empty, that begins at its end, if one does.

    Example:
        >>> without_thought("Which?<think>\n"), without_thought("Which?")
        ('Which?<think>\n\n</think>\n\n', 'Which?')
    """
    mark = open_thought(text).rstrip()
    return f"{text.rstrip()}\n\n{dict(THOUGHTS)[mark]}\n\n" if mark else text


def may_open_thought(text: str) -> bool:
    """Return whether a text may turn out to be the beginning of a thought.

    Example:
        >>> may_open_thought(" <thi"), may_open_thought("<b>")
        (True, False)
    """
    body = text.lstrip()
    return any(opening.startswith(body) for opening, _ in THOUGHTS)


def end_of_answer(text: str, stops: Iterable[str]) -> int | None:
    r"""Return where the first stop string behind the thought begins, if there is one.

    Example:
        >>> end_of_answer("<think>\nHm.\n</think>\n12\nSo", ["\n"])
        23
    """
    start = answer_start(text)
    return None if start is None else first_stop(text, stops, start)


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
    return max((_overlap(text, stop) for stop in stops if len(stop) > 1), default=0)


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest proper beginning of a stop string with which a text ends.

    By the failure function of Knuth, Morris and Pratt, so in linear time whatever the texts are.
    """
    end = text[1 - len(stop) :]
    if stop[0] not in end:
        return 0
    failure = [0]
    for char in stop[1:]:
        failure.append(_step(stop, failure, failure[-1], char))
    length = 0
    for char in end:
        length = _step(stop, failure, length, char)
    return length


def _step(stop: str, failure: list[int], length: int, char: str) -> int:
    while length and (length == len(stop) or stop[length] != char):
        length = failure[length - 1]
    return length + (stop[length] == char)
