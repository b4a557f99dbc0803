r"""Stop strings under a conjugation: which the model is told, and which are read in its answer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import product

from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.stopping import first_stop

_LINE_BREAKS = re.compile(r"(\r?\n)+")

_SURROUNDINGS: tuple[str, ...] = (
    "",
    " ",
    "\n",
    "a",
    "Z",
    "é",
    "7",
    "\\",
    "·",
    "-",
    "'",
    ".",
    ":",
    "`",
    "{",
    "a ",
    " b",
)
_SURROUNDINGS += ("a·", "·ay", "ay")
"""What may stand beside a stop string: one of each kind of text that our rules tell apart."""


def sent_stops(conjugation: TextConjugation, stops: Iterable[str]) -> tuple[str, ...]:
    r"""Return the stop strings that the model is told.

    Line breaks go as they are: conjugations keep the lines of a text in their order. Any other
    stop goes in conjugated form if cutting there and inverting is the same as inverting and cutting
    there, whatever stands beside it. Where that does not hold (a ``5`` under ``leet`` may be an
    ``s``, or the second half of an escape), it is only read in the inverted answer. So are all
    stops under ``protect(…)``, where a backtick far away decides what is conjugated, and all but
    line breaks in translations.

    Example:
        >>> from palimpsest.lm.conjugations import parse_conjugation
        >>> sent_stops(parse_conjugation("leet"), ["\n\n", "User:", "seven"])
        ('\n\n', 'U53r:')
    """
    sent = (_sent(conjugation, stop) for stop in stops)
    return tuple(dict.fromkeys(stop for stop in sent if stop))


def read_stops(conjugation: TextConjugation, stops: Iterable[str]) -> tuple[str, ...]:
    """Return the stop strings to look for in inverted answers.

    A conjugation that loses something, such as case, cannot give a stop back as it was: what it
    gives back instead counts as well. A translation may give back anything, so there it does not.

    Example:
        >>> from palimpsest.lm.conjugations import parse_conjugation
        >>> read_stops(parse_conjugation("upper"), ["User:"])
        ('User:', 'user:')
    """
    read = list(stops)
    if not conjugation.exact and not conjugation.batched:
        read += [image for stop in read if (image := conjugation.invert(conjugation.apply(stop)))]
    return tuple(dict.fromkeys(read))


@lru_cache(maxsize=4096)
def _sent(conjugation: TextConjugation, stop: str) -> str | None:
    if "(" in conjugation.name:
        return None
    if _LINE_BREAKS.fullmatch(stop):
        return stop
    if conjugation.batched:
        return None
    written = conjugation.apply(stop)
    read = read_stops(conjugation, [stop])
    for before, after in product(_SURROUNDINGS, repeat=2):
        whole = conjugation.invert(before + written + after)
        if first_stop(before + written, [written]) != len(before):
            continue  # the model would have been stopped before
        if whole[: first_stop(whole, read)] != conjugation.invert(before):
            return None
    return written


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
