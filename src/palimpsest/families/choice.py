"""The choice of a member by a rule that is written down beforehand, and the better cure.

The rule, in full in ``docs/verdicts.md``:

1. The source examples of both suites are dealt into two halves by a hash of their names.
2. On the first half a member is *eligible* if it brings something back (the interval of its gain
   on the tuned model lies above zero) and if a fall of its target by the margin is excluded (the
   interval of its change lies above minus the margin). Of these, the one with the highest accuracy
   on the suite is chosen; of equals, the one with the better target, then the one named first.
3. On the second half both must hold again. If they do, the member is good enough.
4. If not, none is good enough where that is shown: nothing is brought back, or the target falls by
   more than the margin (the interval of its change lies below minus the margin). Where the examples
   are too few to show either, the choice is inconclusive.

Prompting is no member: asked plainly, the tuned model's target stays as it is. The way of asking
with the highest accuracy on the first half is compared with the member on the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from palimpsest.families.front import Evidence
from palimpsest.records import Choice, Cure, FrontPoint, Half, Quantity
from palimpsest.report import number, percent
from palimpsest.stats import pairs_to_exclude

RULE = (
    "On one half of the examples, of all members that clearly bring something back and of whose "
    "target a fall of the margin is excluded, the one that keeps most; it is good enough if both "
    "hold again on the other half."
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
    eligible = [point for point in healing if _keeps_target(point.selection, margin)]
    wording = _Wording(margin)
    if not eligible:
        return _none_eligible(members, healing, evidence, wording)
    best = max(eligible, key=_merit)
    half = evidence.half(best.name, 2)
    outcome: Literal["good", "none", "inconclusive"]
    healed, kept = _heals(half), _keeps_target(half, margin)
    if healed and kept:
        outcome, reason = "good", wording.good(best.name, half)
    elif not healed:
        outcome, reason = "none", wording.not_healed(best.name, half)
    else:
        is_open = _is_open(half, margin)
        outcome = "inconclusive" if is_open else "none"
        n = _n_needed(evidence, best.name, 2, margin) if is_open else None
        reason = wording.not_kept(best.name, half, n, is_open=is_open)
    return Choice(outcome=outcome, name=best.name, reason=reason, rule=RULE, margin=margin)


def compare_cures(points: Sequence[FrontPoint], evidence: Evidence, choice: Choice) -> Cure:
    """Say whether the member or prompting under a conjugation is the better cure."""
    ways = [point for point in points if point.kind == "prompting" and point.selection]
    wording = _Wording(choice.margin)
    best = max(ways, key=lambda way: way.selection.kept if way.selection else 0.0, default=None)
    half = None if best is None else evidence.half(best.name, 2)
    prompts = best is not None and _heals(half)
    weights = choice.outcome == "good" and choice.name is not None
    via = best.name if best is not None else None
    outcome: Literal["weights", "prompting", "either", "none"]
    if best is None or half is None or not prompts:
        reason = wording.by_weights(choice) if weights else wording.neither(via)
        outcome = "weights" if weights else "none"
        return Cure(outcome=outcome, via=via, difference=None, reason=reason)
    said = wording.prompting(best.name, half)
    if not weights or choice.name is None:
        return Cure(outcome="prompting", via=via, difference=None, reason=said)
    difference = evidence.compared(best.name, choice.name, 2)
    assert difference.ci95 is not None
    low, high = difference.ci95
    outcome = "prompting" if low > 0 else "weights" if high < 0 else "either"
    return Cure(
        outcome=outcome,
        via=via,
        difference=difference,
        reason=f"{said} {wording.difference(best.name, choice.name, difference)}",
    )


def _merit(point: FrontPoint) -> tuple[float, float]:
    half = point.selection
    assert half is not None
    assert half.target_change is not None
    return half.kept, half.target_change.value or 0.0


def _heals(half: Half | None) -> bool:
    return half is not None and half.gain.ci95 is not None and half.gain.ci95[0] > 0


def _keeps_target(half: Half | None, margin: float) -> bool:
    ends = _target_ends(half)
    return ends is not None and ends[0] > -margin


def _is_open(half: Half | None, margin: float) -> bool:
    """Say whether a fall of the margin is neither excluded nor shown."""
    ends = _target_ends(half)
    return ends is not None and ends[1] > -margin


def _n_needed(evidence: Evidence, name: str, which: int, margin: float) -> int | None:
    return pairs_to_exclude(evidence.target_differences(name, 1 if which == 1 else 2), margin)


def _none_eligible(
    members: Sequence[FrontPoint],
    healing: Sequence[FrontPoint],
    evidence: Evidence,
    wording: _Wording,
) -> Choice:
    margin = wording.margin
    if not healing:
        reason = (
            f"None of the {len(members)} members clearly brings anything back."
            if members
            else "No member was asked."
        )
        return Choice(outcome="none", name=None, reason=reason, rule=RULE, margin=margin)
    nearest = max(healing, key=lambda point: _low(point.selection))
    undecided = any(_is_open(point.selection, margin) for point in healing)
    n = _n_needed(evidence, nearest.name, 1, margin) if undecided else None
    assert nearest.selection is not None
    return Choice(
        outcome="inconclusive" if undecided else "none",
        name=None,
        reason=wording.nobody(nearest.name, nearest.selection, n, is_open=undecided),
        rule=RULE,
        margin=margin,
    )


def _low(half: Half | None) -> float:
    ends = _target_ends(half)
    return -1.0 if ends is None else ends[0]


def _target_ends(half: Half | None) -> tuple[float, float] | None:
    change = None if half is None else half.target_change
    return None if change is None else change.ci95


class _Wording:
    """Sentences on halves; points of the target are of accuracy, or of bits saved."""

    def __init__(self, margin: float) -> None:
        self.margin = margin

    @property
    def size(self) -> str:
        """The margin with its unit."""
        return f"{number(100 * self.margin, 1).removesuffix('.0')} points"

    def good(self, name: str, half: Half) -> str:
        """Say what was confirmed."""
        return (
            f"'{name}' brings {self._gain(half)} back, and {self._target(half)}; a fall of "
            f"{self.size} is excluded. Measured on the half that did not choose it."
        )

    def not_healed(self, name: str, half: Half) -> str:
        """Say that nothing comes back on the second half."""
        return (
            f"None is good enough: '{name}' was chosen on one half, but on the other it brings "
            f"nothing back for sure ({self._gain(half)})."
        )

    def not_kept(self, name: str, half: Half, n_needed: int | None, *, is_open: bool) -> str:
        """Say that the target is not shown to be kept on the second half."""
        start = f"'{name}' was chosen on one half, but on the other {self._target(half)}"
        if not is_open:
            return f"None is good enough: {start}."
        return f"No member is shown to be good enough: {start}, and {self._too_few(half, n_needed)}"

    def nobody(self, name: str, half: Half, n_needed: int | None, *, is_open: bool) -> str:
        """Say that no member is eligible, and which comes nearest."""
        if is_open:
            return (
                f"No member is shown to be good enough. Nearest comes '{name}': it brings "
                f"{self._gain(half)} back, and {self._target(half)}, but "
                f"{self._too_few(half, n_needed)}"
            )
        return (
            "None is good enough: with every member that brings something back the target falls by "
            f"more than {self.size}. Nearest comes '{name}': it brings {self._gain(half)} back, "
            f"and {self._target(half)}."
        )

    def prompting(self, via: str, half: Half) -> str:
        """Say what prompting does."""
        everywhere = ""
        if half.target_change is not None:
            everywhere = f" Where every prompt is sent so, {self._target(half)}."
        return (
            f"Prompting under '{via}' brings {self._gain(half)} back without new weights, for the "
            f"prompts that you send so; all others stay as they are.{everywhere}"
        )

    def by_weights(self, choice: Choice) -> str:
        """Say that the member is all that helps."""
        return (
            f"The weights: '{choice.name}' is good enough, and no way of asking brings as much as "
            "a clear gain."
        )

    def neither(self, via: str | None) -> str:
        """Say that nothing helps."""
        tried = "no way of asking was tried" if via is None else "no way of asking clearly helps"
        return f"Neither: no member is good enough, and {tried}."

    def difference(self, via: str, name: str, difference: Quantity) -> str:
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

    def _gain(self, half: Half) -> str:
        assert half.gain.value is not None
        return _points(half.gain.value, half.gain.ci95)

    def _target(self, half: Half) -> str:
        change = half.target_change
        assert change is not None
        assert change.value is not None
        is_worse = change.value < 0
        low, high = change.ci95 or (0.0, 0.0)
        ends = (-high, -low) if is_worse else (low, high)
        verb = "loses" if is_worse else "gains"
        return f"the target {verb} {_points(abs(change.value), ends)}"

    def _too_few(self, half: Half, n_needed: int | None) -> str:
        about = "" if n_needed is None else f"; about {_rounded(n_needed):,} a half would"
        return (
            f"{half.n_target} examples of the target do not exclude a fall of {self.size}{about}."
        )


def _points(value: float, ends: tuple[float, float] | None) -> str:
    text = f"{percent(value)} points"
    if ends is None:
        return text
    return f"{text} (95 % interval {percent(ends[0])} to {percent(ends[1])})"


def _rounded(n: int) -> int:
    """Return a number to two digits, upwards."""
    step = int(10 ** max(0, len(str(n)) - 2))
    return -(-n // step) * step
