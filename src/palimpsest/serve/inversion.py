r"""Inverting what a model says while it is still saying it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.stopping import first_stop
from palimpsest.serve.stops import n_open, read_stops

_P = ParamSpec("_P")
_T = TypeVar("_T")

_SHORT = 2048
"""Characters up to which an answer is inverted anew with each piece."""

_SHARE = 128
"""From there on it is inverted when it has grown by one part in so many: doing it each time would
take quadratic time."""

_MOST_ON_LOOP = 50_000
"""Characters that a rule rewrites in some milliseconds; more would keep other requests waiting."""


class Inverse:
    r"""One growing answer, its stop strings applied after inversion.

    Whatever the pieces, the texts that :meth:`feed` and :meth:`finish` return are together the
    inverted answer, cut before the first stop string.

    Args:
        conjugation: Under which the model was asked.
        stops: As the client gave them.

    Raises:
        BrokenPromiseError: From :meth:`finish`: ``certain`` has promised what did not come true.

    Example:
        >>> from palimpsest.lm.conjugations import parse_conjugation
        >>> inverse = Inverse(parse_conjugation("leet"), ["\n"])
        >>> [inverse.feed(piece) for piece in ["17 15 \\", "7", "\n3nd"]], inverse.stopped
        (['it is ', '7', ''], True)
    """

    def __init__(self, conjugation: TextConjugation, stops: Sequence[str]) -> None:
        self._conjugation = conjugation
        self._stops = read_stops(conjugation, stops)
        self._raw = ""
        self._next = 0
        self._given = ""
        self.stopped = False
        """Whether a stop string was met, so that nothing more will come."""

    @property
    def slow(self) -> bool:
        """Whether the next step should not be taken on the event loop."""
        return self._conjugation.batched or len(self._raw) > _MOST_ON_LOOP

    def append(self, piece: str) -> None:
        """Take what the model said next, without asking what is certain."""
        self._raw += piece

    def feed(self, piece: str) -> str:
        """Take what the model said next; return what has become certain by it."""
        self.append(piece)
        if self.stopped or len(self._raw) < self._next:
            return ""
        n = len(self._raw)
        self._next = n + (n // _SHARE if n > _SHORT else 1)
        certain = self._conjugation.certain(self._raw)
        return self._advance(
            certain, len(certain) - n_open(certain[len(self._given) :], self._stops)
        )

    def finish(self) -> str:
        """Return the rest of the answer: the model will say no more."""
        if self.stopped:
            return ""
        whole = self._conjugation.invert(self._raw)
        if not whole.startswith(self._given):
            raise BrokenPromiseError(self._conjugation.name)
        return self._advance(whole, len(whole))

    def _advance(self, text: str, settled: int) -> str:
        """Return what is new up to a stop string, or to where one may yet begin."""
        found = first_stop(text, self._stops, len(self._given))
        self.stopped = found is not None and found <= settled
        end = found if found is not None and self.stopped else settled
        new = text[len(self._given) : end]
        self._given += new
        return new


class BrokenPromiseError(Exception):
    """A conjugation called something certain that was not: a bug in a plugin."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The conjugation '{name}' called a text certain that then changed.")


async def off_loop(slow: bool, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Do the work in a thread if it is slow, so that other requests go on."""
    if slow:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)


def is_slow(conjugation: TextConjugation, n_characters: int) -> bool:
    """Return whether rewriting so much text should be done in a thread."""
    return conjugation.batched or n_characters > _MOST_ON_LOOP
