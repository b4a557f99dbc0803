"""The choice of a member by a rule that is written down beforehand, and the better cure.

The rule, in full in ``docs/verdicts.md``:

1. A fall of the target by the margin must be excluded: of all members together, by intervals that
   hold together, so that what they allow holds for whichever is chosen.
2. The source examples of the suite are dealt into two halves by a hash of their names. On the
   first, a member must bring something back (the interval of its gain lies above zero); of those
   that do, the one with the highest accuracy is chosen; of equals, the one with the better target,
   then the one named first.
3. On the second half it must bring something back again, and what it keeps is reported from there.
4. If there is no such member, none is good enough where that is shown: nothing is brought back, or
   the target falls by more than the margin with all that do. Where the examples are too few to
   show either, the choice is inconclusive.

Prompting is no member: asked plainly, the tuned model's target stays as it is. The way of asking
with the highest accuracy on the first half is compared with the member on the second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from palimpsest.families.front import Evidence
from palimpsest.records import Choice, Cure, Estimate, FrontPoint, Half, Interval
from palimpsest.report import number, percent

RULE = (
    "Of all members of whose target a fall of the margin is excluded, by intervals that hold "
    "together, and that clearly bring something back, the one that keeps most on one half of the "
    "examples; it is good enough if it clearly brings something back on the other half, too."
)


def choose(points: Sequence[FrontPoint], evidence: Evidence, margin: float) -> Choice:
    """Apply the rule to the members.

    Args:
        points: All points, with their first halves.
        evidence: The scores behind them.
        margin: The largest fall of the target that is allowed, a fraction.
    """
    members = [point for point in points if point.kind == "member"]
    healing = [point for point in members if _heals(point.selection)]
    eligible = [point for point in healing if _target_ends(point)[0] > -margin]
    wording = _Wording(margin, len(evidence.on_target.names))
    outcome: Literal["good", "none", "inconclusive"]
    name = None
    if eligible:
        best = max(eligible, key=_merit)
        half, name = evidence.half(best.name, 2), best.name
        outcome = "good" if _heals(half) else "inconclusive"
        reason = wording.good(best, half) if _heals(half) else wording.not_healed(best, half)
    elif not healing:
        outcome, reason = "none", wording.nothing_heals(len(members))
    else:
        nearest = max(healing, key=lambda point: _target_ends(point)[0])
        is_open = any(_target_ends(point)[1] > -margin for point in healing)
        outcome = "inconclusive" if is_open else "none"
        reason = wording.too_few(nearest) if is_open else wording.none(nearest)
    return Choice(outcome=outcome, name=name, reason=reason, rule=RULE, margin=margin)


def compare_cures(points: Sequence[FrontPoint], evidence: Evidence, choice: Choice) -> Cure:
    """Say whether the member or prompting under a conjugation is the better cure."""
    ways = [point for point in points if point.kind == "prompting"]
    wording = _Wording(choice.margin, len(evidence.on_target.names))
    best = max(ways, key=lambda way: way.selection.kept if way.selection else 0.0, default=None)
    half = None if best is None else evidence.half(best.name, 2)
    member = choice.name if choice.outcome == "good" else None
    via = None if best is None else best.name
    outcome: Literal["weights", "prompting", "either", "none"]
    if best is None or half is None or not _heals(half):
        outcome = "none" if member is None else "weights"
        reason = wording.neither(via) if member is None else wording.by_weights(member)
        return Cure(outcome=outcome, via=via, difference=None, reason=reason)
    said = wording.prompting(best, half)
    if member is None:
        return Cure(outcome="prompting", via=via, difference=None, reason=said)
    difference = evidence.compared(best.name, member, 2)
    assert difference.ci95 is not None
    low, high = difference.ci95
    outcome = "prompting" if low > 0 else "weights" if high < 0 else "either"
    return Cure(
        outcome=outcome,
        via=via,
        difference=difference,
        reason=f"{said} {wording.difference(best.name, member, difference)}",
    )


def _merit(point: FrontPoint) -> tuple[float, float]:
    assert point.selection is not None
    assert point.target_change is not None
    return point.selection.kept, point.target_change.value or 0.0


def _heals(half: Half | None) -> bool:
    return half is not None and half.gain.ci95 is not None and half.gain.ci95[0] > 0


def _target_ends(point: FrontPoint) -> Interval:
    """Return the ends of the change of the target; of one that was not asked, all there are."""
    change = point.target_change
    return (-1.0, 1.0) if change is None or change.ci95 is None else change.ci95


class _Wording:
    """Sentences on members; points of the target are of accuracy, or of bits saved."""

    def __init__(self, margin: float, n_target: int) -> None:
        self._margin = margin
        self._size = f"{number(100 * margin, 1).removesuffix('.0')} points"
        self._n_target = n_target

    def good(self, point: FrontPoint, half: Half) -> str:
        """Say what was confirmed."""
        return (
            f"'{point.name}' brings {_gain(half)} back, measured on the half that did not choose "
            f"it. {_target(point)}; a fall of {self._size} is excluded."
        )

    def not_healed(self, point: FrontPoint, half: Half) -> str:
        """Say that nothing comes back on the second half."""
        return (
            f"'{point.name}' was chosen on one half, but on the other it brings nothing back for "
            f"sure ({_gain(half)})."
        )

    def nothing_heals(self, n_members: int) -> str:
        """Say that nothing is brought back by any member."""
        if not n_members:
            return "No member was asked."
        return f"None is good enough: none of {n_members} clearly brings anything back."

    def none(self, point: FrontPoint) -> str:
        """Say that every member that brings something back costs too much."""
        return (
            "None is good enough: with every member that brings something back the target falls by "
            f"more than {self._size}. {self._nearest(point)}."
        )

    def too_few(self, point: FrontPoint) -> str:
        """Say that the examples do not show whether a member is good enough."""
        needed = self._n_needed(point)
        about = "" if needed is None else f"; about {needed:,} would, if they were like these"
        return (
            f"No member is shown to be good enough. {self._nearest(point)}, but {self._n_target} "
            f"examples of the target do not exclude a fall of {self._size}{about}."
        )

    def prompting(self, point: FrontPoint, half: Half) -> str:
        """Say what prompting does."""
        everywhere = ""
        if point.target_change is not None:
            everywhere = f" Where every prompt is sent so, {_uncapitalised(_target(point))}."
        return (
            f"Prompting under '{point.name}' brings {_gain(half)} back without new weights, for "
            f"the prompts that you send so; all others stay as they are.{everywhere}"
        )

    def by_weights(self, name: str) -> str:
        """Say that the member is all that helps."""
        return f"'{name}' is good enough, and no way of asking clearly brings anything back."

    def neither(self, via: str | None) -> str:
        """Say that nothing helps."""
        tried = "no way of asking was tried" if via is None else "no way of asking clearly helps"
        return f"No member is good enough, and {tried}."

    def difference(self, via: str, name: str, difference: Estimate) -> str:
        """Say which of the two is better, and by how much."""
        value, ends = difference.value or 0.0, difference.ci95
        low, high = ends or (0.0, 0.0)
        if low <= 0 <= high:
            return (
                f"Neither is clearly better than '{name}' in the weights, which is for all prompts "
                f"alike (difference {_points(value, ends)})."
            )
        better, worse = (f"'{via}'", f"'{name}'") if low > 0 else (f"'{name}'", f"'{via}'")
        sized = (value, ends) if low > 0 else (-value, (-high, -low))
        return f"On what was lost {better} is better than {worse} by {_points(*sized)}."

    def _nearest(self, point: FrontPoint) -> str:
        assert point.selection is not None
        return (
            f"Nearest comes '{point.name}': it brings {_gain(point.selection)} back, and "
            f"{_uncapitalised(_target(point))}"
        )

    def _n_needed(self, point: FrontPoint) -> int | None:
        """Return with how many examples the interval would be narrow enough, to two digits."""
        value = point.target_change.value if point.target_change is not None else None
        if value is None or value <= -self._margin:
            return None
        ratio = (value - _target_ends(point)[0]) / (value + self._margin)
        n = math.ceil(self._n_target * ratio**2)
        step = int(10 ** max(0, len(str(n)) - 2))
        return -(-n // step) * step


def _gain(half: Half) -> str:
    assert half.gain.value is not None
    return _points(half.gain.value, half.gain.ci95)


def _target(point: FrontPoint) -> str:
    assert point.target_change is not None
    assert point.target_change.value is not None
    value, (low, high) = point.target_change.value, _target_ends(point)
    if value < 0:
        return f"The target loses {_points(-value, (-high, -low))}"
    return f"The target gains {_points(value, (low, high))}"


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]


def _points(value: float, ends: Interval | None) -> str:
    text = f"{percent(value)} points"
    if ends is None:
        return text
    return f"{text} (95 % interval {percent(ends[0])} to {percent(ends[1])})"
