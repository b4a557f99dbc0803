"""Programs of five lines of Python, and what they print by another way than running them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Snippet(NamedTuple):
    """A program with the one line that it prints."""

    code: str
    printed: str


def _loop(a: int, b: int, c: int) -> Snippet:
    loop = f"total = {a}\nfor i in range({c}):\n    total = total + {b}"
    code = f"{loop}\ntotal = total - 1\nprint(total)"
    return Snippet(code, str(a + b * c - 1))


def _branch(a: int, b: int, c: int) -> Snippet:
    code = f"x = {a}\ny = {b}\nif x > y:\n    x = x - y\nprint(x + {c})"
    return Snippet(code, str((a - b if a > b else a) + c))


def _list(a: int, b: int, c: int) -> Snippet:
    code = f"xs = [{a}, {b}]\nxs.append({c})\nxs.reverse()\nxs.pop()\nprint(xs[0] + xs[1])"
    return Snippet(code, str(c + b))


def _text(a: int, b: int, c: int) -> Snippet:
    word = ("river", "stone", "cloud", "light", "bread")[a % 5]
    start, n = b % 3, 1 + c % 2
    cut = f'word = "{word}"\npart = word[{start}:]\npart = part.upper()'
    code = f"{cut}\npart = part * {n}\nprint(part)"
    return Snippet(code, word[start:].upper() * n)


SNIPPETS: tuple[Callable[[int, int, int], Snippet], ...] = (_loop, _branch, _list, _text)
"""Each makes a program from three numbers from 2 to 9."""
