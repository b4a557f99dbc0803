"""Words for what figures and tables stand on: how many examples, and what intervals are over.

Every figure and every table of the page says it, in these words.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palimpsest.records import Results

NO_INTERVALS = "no intervals"


def how_many(ns: Iterable[int], what: str = "source examples") -> str:
    """Return how many there are; the least and the most, where they differ.

    Example:
        >>> how_many([40, 40]), how_many([1200, 40], "prompts")
        ('n = 40 source examples', 'n = 40 to 1,200 prompts')
    """
    known = sorted(set(ns))
    if not known:
        return f"n = 0 {what}"
    ends = f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"
    return f"n = {ends} {what}"


def of_accuracies(results: Results) -> str:
    """Return what the intervals of accuracies are over."""
    if results.plain.at_any_time:
        return "95 % confidence sequences over source examples, good at whatever moment one looks"
    if results.samples is not None:
        n = results.samples.n
        return f"95 % intervals: bootstrap over source examples, {n} samples of each together"
    if results.plain.forgetting_newcombe95 is None:
        return "95 % intervals: bootstrap over source examples"
    return "95 % intervals: Wilson’s, over source examples"


def of_differences(results: Results) -> str:
    """Return what the intervals of falls, recoveries and the like are over."""
    if results.plain.at_any_time or results.samples is not None:
        return of_accuracies(results)
    return "95 % intervals: bootstrap over source examples, both models’ answers together"


def of_falls(results: Results) -> str:
    """Return what the intervals of base minus tuned are over."""
    if of_differences(results) == of_accuracies(results):
        return of_differences(results)
    return (
        "95 % intervals: the hull of a bootstrap over source examples and Newcombe’s for paired "
        "proportions"
    )
