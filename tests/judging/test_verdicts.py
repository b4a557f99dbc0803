from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from palimpsest.judging.verdicts import Judgement, judge
from palimpsest.records.results import Arm, Best, ConjugationResult, Interval, Plain
from palimpsest.records.thresholds import THRESHOLDS
from palimpsest.stats.proportions import wilson_interval

DOCS = Path(__file__).parents[2] / "docs"


def arm(accuracy: float, *, n: int = 100, intruded: float = 0.0) -> Arm:
    """Return an arm; ``intruded`` is the share of its errors."""
    n_right = round(n * accuracy)
    wrong = 1 - n_right / n
    return Arm(
        n=n,
        accuracy=n_right / n,
        ci95=wilson_interval(n_right, n),
        intruded=intruded * wrong,
        broken=(1 - intruded) * wrong,
    )


def plain(
    fall: Interval = (0.65, 0.77),
    *,
    base: float = 0.96,
    tuned: float = 0.25,
    newcombe: Interval | None = None,
    p_value: float = 1e-9,
    n: int = 100,
) -> Plain:
    return Plain(
        base=arm(base, n=n),
        tuned=arm(tuned, n=n, intruded=1.0),
        forgetting=round(base - tuned, 9),
        forgetting_ci95=fall,
        forgetting_newcombe95=newcombe or fall,
        p_value=p_value,
        n_lost=0,
        n_gained=0,
    )


def under(
    name: str = "fr",
    recovery: Interval | None = (0.93, 1.0),
    *,
    base: float = 0.95,
    intruded: float = 0.0,
    p_holm: float = 1e-6,
) -> ConjugationResult:
    middle = None if recovery is None else sum(recovery) / 2
    return ConjugationResult(
        name=name,
        exact=True,
        keeps="everything",
        base=arm(base),
        tuned=arm(0.25 + 0.7 * max(middle or 0.0, 0.0), intruded=intruded),
        recovery=middle,
        recovery_ci95=recovery,
        did=0.5,
        did_ci95=(0.4, 0.6),
        p_value=p_holm,
        p_holm=p_holm,
        n_lost=0,
        n_gained=0,
    )


def best(
    name: str = "fr",
    recovery: Interval | None = (0.93, 1.0),
    *,
    at: float = 0.98,
    did: Interval = (0.5, 0.7),
) -> Best:
    return Best(
        name=name,
        n_selection=50,
        n_report=50,
        tuned_plain=arm(0.25),
        tuned=arm(0.9),
        base_plain=arm(0.96),
        base=arm(0.95),
        recovery=None if recovery is None else at,
        recovery_ci95=recovery,
        did=0.6,
        did_ci95=did,
        p_value=1e-6,
    )


NO_FALL = plain((-0.02, 0.03), base=0.96, tuned=0.96, p_value=1.0)


def test_suppressed_says_how_much_comes_back_and_where() -> None:
    assert judge(plain(), [under()], best()) == Judgement(
        "suppressed",
        "Accuracy fell by 71 points (95 % interval 65 to 77); under 'fr' 98 % of it comes back "
        "(95 % interval 93 to 100, on the half that did not choose it), so it is hidden, not gone.",
    )


def test_a_partial_recovery_is_mostly_hidden() -> None:
    found = judge(plain(), [under()], best(recovery=(0.6, 0.9), at=0.75))
    assert found.verdict == "suppressed"
    assert found.reason.endswith("so it is mostly hidden, not gone.")


@pytest.mark.parametrize(
    ("conjugation", "chosen"),
    [
        (under(), best(recovery=(THRESHOLDS.suppressed_above, 1.0))),
        (under(), best(did=(0.0, 0.7))),
        (under(p_holm=0.05), best()),
        (under(), best(recovery=None)),
    ],
    ids=["recovery reaches down to a half", "did reaches zero", "p too large", "undefined"],
)
def test_each_condition_of_suppressed_is_needed(
    conjugation: ConjugationResult, chosen: Best
) -> None:
    assert judge(plain(), [conjugation], chosen).verdict == "inconclusive"


def test_lost_names_where_the_base_model_keeps_the_ability() -> None:
    able = [under("fr", (-0.1, 0.1)), under("leet", (-0.02, 0.14))]
    unable = under("rot13", None, base=0.1)
    assert judge(plain(), [*able, unable], best("leet", (-0.1, 0.2), at=0.1)) == Judgement(
        "lost",
        "Accuracy fell by 71 points (95 % interval 65 to 77); under 'fr' and 'leet', where the "
        "base model keeps the ability, at most 14 % of it comes back (upper end of the 95 % "
        "interval), so it is lost as far as this can show.",
    )


@pytest.mark.parametrize(
    "conjugations",
    [
        [under("fr", (-0.1, THRESHOLDS.lost_below))],
        [under("fr", (-0.1, 0.1)), under("leet", (0.1, 0.4))],
        [under("fr", None)],
        [under("fr", (-0.1, 0.1), base=0.6)],
        [under("fr", (-0.1, 0.1), intruded=0.97)],
        [],
    ],
    ids=["too wide", "one brings more back", "undefined", "base fails", "still intruded", "none"],
)
def test_each_condition_of_lost_is_needed(conjugations: Sequence[ConjugationResult]) -> None:
    chosen = best(recovery=(-0.1, 0.3), at=0.1) if conjugations else None
    assert judge(plain(), conjugations, chosen).verdict == "inconclusive"


def test_one_conjugation_past_the_inference_is_enough_for_lost() -> None:
    conjugations = [under("fr", (-0.1, 0.1), intruded=0.97), under("leet", (-0.1, 0.1))]
    assert judge(plain(), conjugations, best(recovery=(-0.1, 0.1))).verdict == "lost"


def test_kept_excludes_a_fall_of_the_margin() -> None:
    assert judge(NO_FALL, [], None) == Judgement(
        "kept",
        "Accuracy did not change (95 % interval of a fall: −2 to 3 points); a fall of 5 points or "
        "more is excluded, so the ability is kept.",
    )


def test_kept_is_not_the_absence_of_significance() -> None:
    found = judge(plain((-0.05, 0.09), tuned=0.94, p_value=0.6), [under()], best())
    assert found == Judgement(
        "inconclusive",
        "Accuracy fell by 2 points (95 % interval −5 to 9), which neither excludes a fall of 5 "
        "points nor shows that there is any.",
    )


def test_a_handful_of_prompts_left_under_a_conjugation_gives_no_verdict() -> None:
    few = under().model_copy(update={"base": arm(1.0, n=8), "tuned": arm(1.0, n=8)})
    chosen = best().model_copy(update={"n_selection": 4, "n_report": 4})
    found = judge(plain(), [few], chosen)
    assert found.verdict == "inconclusive"
    assert "under 'fr' no more than 8 examples are left" in found.reason
    other = under("leet", (0.3, 0.6))
    assert judge(plain(), [few, other], chosen).verdict == "inconclusive"
    assert judge(plain(), [few, other], best("leet")).verdict == "suppressed"


def test_an_ability_is_what_the_base_model_has_beyond_guessing() -> None:
    found = plain((0.15, 0.35), base=0.40, tuned=0.15)
    assert judge(found, [under()], best(), chance=1 / 3).verdict == "inconclusive"
    assert "not clearly more than guessing (33 %)" in judge(found, [], None, chance=1 / 3).reason
    assert "guessing" not in judge(found, [], None).reason


def test_the_margin_can_be_moved() -> None:
    found = plain((-0.05, 0.09), tuned=0.94, p_value=0.6)
    assert judge(found, [], None, margin=0.1).verdict == "kept"
    assert judge(found, [], None, margin=THRESHOLDS.kept_margin).verdict == "inconclusive"


def test_both_intervals_of_the_fall_must_agree() -> None:
    almost_kept = plain((-0.02, 0.03), newcombe=(-0.03, 0.06), tuned=0.96, p_value=1.0)
    assert judge(almost_kept, [], None).verdict == "inconclusive"
    almost_fallen = plain((0.01, 0.2), newcombe=(-0.01, 0.2), tuned=0.86, p_value=0.04)
    assert judge(almost_fallen, [under()], best()).verdict == "inconclusive"


def test_a_fall_needs_the_exact_test_too() -> None:
    found = judge(plain((0.01, 0.14), tuned=0.89, p_value=0.065), [under()], best())
    assert found.verdict == "inconclusive"
    assert found.reason.endswith("but the exact test does not confirm it (p = 0.065).")


def test_an_improvement_is_kept_and_said_to_be_a_rise() -> None:
    found = judge(plain((-0.3, -0.1), base=0.6, tuned=0.8), [], None)
    assert found.verdict == "kept"
    assert found.reason.startswith("Accuracy rose by 20 points (95 % interval 10 to 30);")


def test_one_point_is_no_plural() -> None:
    found = judge(plain((-0.03, 0.045), tuned=0.95, p_value=1.0), [], None)
    assert found.reason.startswith("Accuracy fell by 1 point (95 % interval −3 to 4.5);")


@pytest.mark.parametrize("n", [1, 10, THRESHOLDS.min_examples - 1])
def test_few_examples_give_no_verdict_however_clear_they_look(n: int) -> None:
    found = judge(plain((0.9, 1.0), base=1.0, tuned=0.0, n=n), [under()], best())
    assert found.verdict == "inconclusive"
    assert f"at least {THRESHOLDS.min_examples}" in found.reason
    assert ("1 example was" in found.reason) == (n == 1)


def test_what_the_base_model_cannot_do_cannot_be_kept_or_forgotten() -> None:
    found = judge(plain((-0.03, 0.04), base=0.02, tuned=0.02), [under()], best())
    assert found.verdict == "inconclusive"
    assert found.reason == (
        "The base model itself is right on only 2 % of the plain prompts (95 % interval 1 to 7), "
        "so there is hardly an ability to forget."
    )
    assert wilson_interval(2, 100).low <= THRESHOLDS.ability_floor


@pytest.mark.parametrize(
    ("conjugations", "chosen", "reason"),
    [
        ([], None, "without a conjugation nothing shows whether it is hidden or lost"),
        (
            [under("rot13", None, base=0.1)],
            best("rot13", (-0.1, 0.1)),
            "under 'rot13' the base model does not keep the ability either",
        ),
        (
            [under("fr", (-0.1, 0.1), intruded=1.0)],
            best(recovery=(-0.1, 0.1), at=0.0),
            "under 'fr' the tuned model still gives the other ability's answer (75 % or more)",
        ),
        (
            [under("fr", (0.3, 0.5))],
            best(recovery=(0.2, 0.6), at=0.4),
            "under 'fr' 40 % of it comes back (95 % interval 20 to 60, on the half that did not "
            "choose it), which settles nothing: hidden needs an interval above 50 %, lost one "
            "below 25 %",
        ),
        ([under()], best(recovery=None), "not clearly on the half that measures"),
        ([under()], best(did=(-0.1, 0.2)), "not clearly more than the base model gains there"),
    ],
)
def test_an_undecided_fall_says_what_is_missing(
    conjugations: Sequence[ConjugationResult], chosen: Best | None, reason: str
) -> None:
    found = judge(plain(), conjugations, chosen)
    assert found.verdict == "inconclusive"
    assert found.reason.startswith("Accuracy fell by 71 points (95 % interval 65 to 77)")
    assert reason in found.reason


def test_a_sentence_follows_the_threshold_that_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    found, chosen = plain(), best(recovery=(0.3, 0.6), at=0.45)
    conjugations = [under("fr", (0.3, 0.6))]
    undecided = judge(found, conjugations, chosen)
    assert "hidden needs an interval above 50 %, lost one below 25 %" in undecided.reason
    other = replace(THRESHOLDS, suppressed_above=0.4, lost_below=0.2, min_examples=1000)
    monkeypatch.setattr("palimpsest.judging.verdicts.THRESHOLDS", other)
    assert judge(found, conjugations, chosen).reason.endswith("a verdict needs at least 1000.")
    monkeypatch.setattr("palimpsest.judging.verdicts.THRESHOLDS", replace(other, min_examples=30))
    undecided = judge(found, conjugations, chosen)
    assert "hidden needs an interval above 40 %, lost one below 20 %" in undecided.reason
    monkeypatch.setattr(
        "palimpsest.judging.verdicts.THRESHOLDS",
        replace(THRESHOLDS, suppressed_above=0.25, mostly_below=0.4),
    )
    suppressed = judge(found, conjugations, chosen)
    assert suppressed.verdict == "suppressed"
    assert suppressed.reason.endswith("so it is hidden, not gone.")


def test_the_pages_for_users_state_the_thresholds_that_are_applied() -> None:
    page = (DOCS / "verdicts.md").read_text("utf-8")
    said, _, rest = page.partition("## The rule")
    rule, _, why = rest.partition("## Why these thresholds")
    margin, most, little = (
        f"{100 * share:.0f}"
        for share in (
            THRESHOLDS.kept_margin,
            THRESHOLDS.suppressed_above,
            THRESHOLDS.lost_below,
        )
    )
    words = {0.25: "a quarter", 0.5: "half"}
    for threshold in (
        f"as the base model, to within {margin} points",
        f"more than {words[THRESHOLDS.suppressed_above]} of the fall comes back",
        f"less than {words[THRESHOLDS.lost_below]} comes back",
    ):
        assert threshold in said
    for threshold in (
        f"fewer than **{THRESHOLDS.min_examples}** examples",
        f"above **{100 * THRESHOLDS.ability_floor:.0f} %**",
        f"below **{margin} points**",
        f"p ≥ **{THRESHOLDS.alpha}**",
        f"p (Holm, all conjugations) < {THRESHOLDS.alpha}",
        f"recovery above **{most} %**",
        f"recovery is below **{little} %**",
        f"no more than **{words[THRESHOLDS.intruded_at_most]}** of the tuned model's errors",
        f"above\n{words[THRESHOLDS.suppressed_above]}-way between the plain tuned",
    ):
        assert threshold in rule
    for threshold in (
        f"**{margin} points, and equivalence.**",
        f"**{most} and {little} %.**",
        f"**{THRESHOLDS.min_examples} examples.**",
    ):
        assert threshold in why
    for name, threshold in {
        "footguns.md": f"below {THRESHOLDS.min_examples} examples there is no verdict",
        "how-to/trainer.md": f"Verdicts need {THRESHOLDS.min_examples} examples",
    }.items():
        assert threshold in (DOCS / name).read_text("utf-8")
    assert f"excludes a fall of {margin} points" in (DOCS / "footguns.md").read_text("utf-8")
