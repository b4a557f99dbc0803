"""Words for what figures and tables stand on: how many examples, and what intervals are over.

Every figure and every table of the page says it, in these words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palimpsest.records import Results

NO_INTERVALS = "no intervals"


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
