"""The nearest of some names to one that is not among them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a sentence with the nearest name, after a space; nothing if none is near.

    Example:
        >>> did_you_mean("lables", ["labels", "urls"])
        " Did you mean 'labels'?"
        >>> did_you_mean("x", ["labels", "urls"])
        ''
    """
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""
