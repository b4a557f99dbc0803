"""Wording of the reasons: changes, shares, intervals and names as the sentences have them."""

from __future__ import annotations

from collections.abc import Sequence

from palimpsest.records import ConjugationResult, Interval, Plain


def change_of(plain: Plain) -> str:
    """Return the change of accuracy as a clause; the interval is the one the rule uses."""
    low, high = plain.forgetting_hull95
    what = "The mean score" if is_graded(plain) else "Accuracy"
    fall = plain.forgetting
    digits = 1 if high - low < 0.1 else 0
    if fall == 0:
        ends = f"{points(low, digits)} to {points(high, digits)} points"
        return f"{what} did not change (95 % interval of a fall: {ends})"
    word = "fell"
    if fall < 0:
        word, fall, low, high = "rose", -fall, -high, -low
    size = points(fall, digits)
    ends = f"{points(low, digits)} to {points(high, digits)}"
    return f"{what} {word} by {size} {unit_of(size)} (95 % interval {ends})"


def is_graded(plain: Plain) -> bool:
    """Say whether answers have scores between right and wrong."""
    return plain.forgetting_newcombe95 is None


def manages(plain: Plain, only: str = "") -> str:
    """Return what the base model does, as a clause without its subject."""
    share = percent(plain.base.accuracy)
    if is_graded(plain):
        return f"scores {only}{share} on the plain prompts"
    return f"is right on {only}{share} of the plain prompts"


def between(interval: Interval) -> str:
    """Return an interval of shares, in percent."""
    low, high = (points(end, 0) for end in interval)
    return f"95 % interval {low} to {high}"


def percent(share: float) -> str:
    """Return a share as whole percent."""
    return f"{points(share, 0)} %"


def points(fraction: float, digits: int = 1) -> str:
    """Return a fraction as points, without a zero behind them and without the unit."""
    text = f"{100 * fraction:.{digits}f}"
    text = text.removesuffix(".0")
    return "0" if text == "-0" else text.replace("-", "−")


def unit_of(size: str) -> str:
    """Return the unit of a number of points."""
    return "point" if size == "1" else "points"


def quoted(found: Sequence[ConjugationResult]) -> str:
    """Return the names of conjugations, listed."""
    names = [f"'{one.name}'" for one in found]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
