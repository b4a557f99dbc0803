"""Rule that turns figures into a verdict; docs/verdicts.md explains it to users.

It reads nothing but the records of ``results.json``, so anyone can apply it again to a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from palimpsest.judging.explanations import described, remedy
from palimpsest.judging.wording import (
    between,
    change_of,
    is_graded,
    manages,
    percent,
    points,
    quoted,
    unit_of,
)
from palimpsest.records import THRESHOLDS, Best, ConjugationResult, Interval, Plain, Verdict


class Judgement(NamedTuple):
    """A verdict and its reason, one sentence with the numbers."""

    verdict: Verdict
    reason: str


def judge(
    plain: Plain,
    conjugations: Sequence[ConjugationResult],
    best: Best | None,
    *,
    margin: float = THRESHOLDS.kept_margin,
    chance: float | None = None,
) -> Judgement:
    """Return the verdict on one set of examples; the first rule that applies.

    Args:
        plain: Base against tuned, asked plainly.
        conjugations: The same under each conjugation.
        best: The one chosen on one half of the examples, measured on the other.
        margin: The largest fall that still counts as kept, a fraction.
        chance: The accuracy of guessing, where that is meaningful.
    """
    refusal = _refusal(plain, chance)
    if refusal is not None:
        return Judgement("inconclusive", refusal)
    fall = fall_interval(plain)
    if fall[1] < margin:
        return Judgement("kept", kept_reason(plain, margin))
    if not clearly_fell(plain):
        return Judgement("inconclusive", _unclear_reason(plain, margin))
    enough = [found for found in conjugations if found.base.n >= THRESHOLDS.min_examples]
    if conjugations and not enough:
        return Judgement("inconclusive", _too_few_left_reason(plain, conjugations))
    if best is not None and best.n_selection + best.n_report < THRESHOLDS.min_examples:
        best = None
    conjugations = enough
    if best is not None and _brings_most_back(best, conjugations):
        return unless(doubt(plain), "suppressed", _suppressed_reason(plain, best))
    able = [found for found in conjugations if base_keeps(found, plain)]
    if _none_brings_more_than_little(able) and any(map(gets_past_inference, able)):
        return unless(doubt(plain, able), "lost", lost_reason(plain, able))
    return Judgement("inconclusive", _undecided_reason(plain, conjugations, able, best))


def fall_interval(plain: Plain) -> Interval:
    """Return the smallest interval that holds all intervals of the forgetting."""
    return plain.forgetting_hull95


def clearly_fell(plain: Plain, p_value: float | None = None) -> bool:
    """Say whether the tuned model is clearly worse when asked plainly, by more than the noise.

    Args:
        plain: Base against tuned, asked plainly.
        p_value: An adjusted one, in place of its own.
    """
    p_value = plain.p_value if p_value is None else p_value
    return fall_interval(plain)[0] > noise_floor(plain) and p_value < THRESHOLDS.alpha


def noise_floor(plain: Plain) -> float:
    """Return the fall that may be noise: the share of the base's answers that flip by themselves.

    All of them count, as though they all went one way; 0 where nobody has measured it.
    """
    return 0.0 if plain.noise is None else plain.noise.floor


def base_keeps(found: ConjugationResult, plain: Plain) -> bool:
    """Say whether the base model still has the ability under a conjugation.

    Its accuracy must clearly be above half-way from tuned to base, both asked plainly. Then a tuned
    model that kept the ability to the same degree would be called suppressed: the test is fair.
    """
    share = THRESHOLDS.suppressed_above
    half_way = (1 - share) * plain.tuned.accuracy + share * plain.base.accuracy
    return found.base.ci95[0] > half_way


def gets_past_inference(found: ConjugationResult) -> bool:
    """Say whether the tuned model's errors are mostly not the other ability's answers."""
    wrong = 1 - found.tuned.accuracy
    return found.tuned.intruded <= THRESHOLDS.intruded_at_most * wrong


def _refusal(plain: Plain, chance: float | None) -> str | None:
    """Return why these examples can support no verdict at all, if so."""
    n, base = plain.base.n, plain.base
    if n < THRESHOLDS.min_examples:
        examples = "1 example was" if n == 1 else f"{n} examples were"
        return (
            f"Only {examples} answered by both models; "
            f"a verdict needs at least {THRESHOLDS.min_examples}."
        )
    if base.ci95[0] <= THRESHOLDS.ability_floor:
        return (
            f"The base model itself {manages(plain, 'only ')} "
            f"({between(base.ci95)}), so there is hardly an ability to forget."
        )
    if chance is not None and base.ci95[0] <= chance:
        return (
            f"The base model itself {manages(plain)} "
            f"({between(base.ci95)}), which is not clearly more than guessing "
            f"({percent(chance)}), so there is hardly an ability to forget."
        )
    return None


def _brings_most_back(best: Best, conjugations: Sequence[ConjugationResult]) -> bool:
    p_holm = next(found.p_holm for found in conjugations if found.name == best.name)
    return (
        best.recovery_ci95 is not None
        and best.recovery_ci95[0] > THRESHOLDS.suppressed_above
        and best.did_ci95[0] > 0
        and p_holm < THRESHOLDS.alpha
    )


def _none_brings_more_than_little(able: Sequence[ConjugationResult]) -> bool:
    # Every one must pass, so testing many makes this harder to fulfil and needs no correction.
    return bool(able) and all(
        found.recovery_ci95 is not None and found.recovery_ci95[1] < THRESHOLDS.lost_below
        for found in able
    )


def explains_fall(plain: Plain) -> bool:
    """Say whether something else than a loss explains too much of the fall to call it one.

    That is the lower end of its interval, so that no clear fall would be left if those answers
    counted as right; or a share of the fall itself.
    """
    least = min(fall_interval(plain)[0], THRESHOLDS.explained_at_most * plain.forgetting)
    return plain.looked is not None and plain.looked.explained >= max(least, 0.0) > 0


def explains_no_recovery(found: ConjugationResult, plain: Plain) -> bool:
    """Say whether more could come back than a loss allows, if such answers counted as right."""
    if found.looked is None or not found.looked.explained or found.recovery_ci95 is None:
        return False
    share = found.looked.explained / plain.forgetting
    return found.recovery_ci95[1] + share >= THRESHOLDS.lost_below


def unless(doubt: str | None, verdict: Verdict, reason: str) -> Judgement:
    """Return a verdict with its reason, unless there is a doubt."""
    return Judgement(verdict, reason) if doubt is None else Judgement("inconclusive", doubt)


def doubt(plain: Plain, able: Sequence[ConjugationResult] = ()) -> str | None:
    """Return why a fall shows neither a suppression nor a loss, as far as the answers tell."""
    if plain.looked is not None and explains_fall(plain):
        return (
            f"{change_of(plain)}, but {described(plain.looked)}: no loss is shown by these. "
            f"{remedy(plain.looked)}"
        )
    for found in able:
        if found.looked is not None and explains_no_recovery(found, plain):
            return (
                f"{change_of(plain)}; under '{found.name}' little of it comes back, but "
                f"{described(found.looked)}: no loss is shown by these. {remedy(found.looked)}"
            )
    return None


def kept_reason(plain: Plain, margin: float) -> str:
    """Return why an ability counts as kept."""
    size = points(margin)
    return (
        f"{change_of(plain)}; a fall of {size} {unit_of(size)} or more is excluded, "
        "so the ability is kept."
    )


def _unclear_reason(plain: Plain, margin: float) -> str:
    if plain.noise is not None and 0 < fall_interval(plain)[0] <= noise_floor(plain):
        return (
            f"{change_of(plain)}, but {points(noise_floor(plain))} % of the base model's own "
            "answers change when it is asked again: a fall within that noise is none."
        )
    if fall_interval(plain)[0] > 0:
        return (
            f"{change_of(plain)}, but the {'randomisation' if is_graded(plain) else 'exact'} test "
            f"does not confirm it (p = {plain.p_value:.2g})."
        )
    size = points(margin)
    return (
        f"{change_of(plain)}, which neither excludes a fall of {size} {unit_of(size)} "
        "nor shows that there is any."
    )


def _suppressed_reason(plain: Plain, best: Best) -> str:
    assert best.recovery is not None
    assert best.recovery_ci95 is not None
    mostly = "" if best.recovery >= THRESHOLDS.mostly_below else "mostly "
    return (
        f"{change_of(plain)}; under '{best.name}' {percent(best.recovery)} of it comes back "
        f"({_on_the_other_half(best.recovery_ci95)}), so it is {mostly}hidden, not gone."
    )


def lost_reason(plain: Plain, able: Sequence[ConjugationResult]) -> str:
    """Return why an ability counts as lost."""
    highest = max(found.recovery_ci95[1] for found in able if found.recovery_ci95 is not None)
    at_most = f"at most {percent(highest)} of it comes back" if highest > 0 else "none comes back"
    return (
        f"{change_of(plain)}; under {quoted(able)}, where the base model keeps the ability, "
        f"{at_most} (upper end of the 95 % interval), so it is lost as far as this can show."
    )


def _too_few_left_reason(plain: Plain, conjugations: Sequence[ConjugationResult]) -> str:
    most = max(found.base.n for found in conjugations)
    left = "1 example is" if most == 1 else f"{most} examples are"
    return (
        f"{change_of(plain)}; under {quoted(conjugations)} no more than {left} left to compare, "
        f"and a verdict needs at least {THRESHOLDS.min_examples}."
    )


def _undecided_reason(
    plain: Plain,
    conjugations: Sequence[ConjugationResult],
    able: Sequence[ConjugationResult],
    best: Best | None,
) -> str:
    """Say why a clear fall is called neither suppressed nor lost."""
    change = change_of(plain)
    if not conjugations:
        return f"{change}; without a conjugation nothing shows whether it is hidden or lost."
    if not able:
        return (
            f"{change}; under {quoted(conjugations)} the base model does not keep the ability "
            "either, so nothing shows whether it is hidden or lost."
        )
    if _none_brings_more_than_little(able):
        intruded = min(found.tuned.intruded for found in able)
        return (
            f"{change}; under {quoted(able)} the tuned model still gives the other ability's "
            f"answer ({percent(intruded)} or more), so its failure there shows no loss."
        )
    if best is None or best.recovery is None or best.recovery_ci95 is None:
        return f"{change}, but not clearly on the half that measures the best conjugation."
    comes_back = (
        f"{change}; under '{best.name}' {percent(best.recovery)} of it comes back "
        f"({_on_the_other_half(best.recovery_ci95)})"
    )
    if best.recovery_ci95[0] > THRESHOLDS.suppressed_above:
        return f"{comes_back}, but not clearly more than the base model gains there as well."
    return (
        f"{comes_back}, which settles nothing: hidden needs an interval above "
        f"{percent(THRESHOLDS.suppressed_above)}, lost one below "
        f"{percent(THRESHOLDS.lost_below)} wherever the base model keeps the ability."
    )


def _on_the_other_half(interval: Interval) -> str:
    return f"{between(interval)}, on the half that did not choose it"
