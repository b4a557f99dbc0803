"""A plan says what the rule does: its probabilities are those of runs that are judged by it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.judging.test_analysis import GONE, HIDDEN, Via

from palimpsest.errors import UserError
from palimpsest.judging.planning import Assumptions, _point, _Setting, passed, plan
from palimpsest.judging.populations import assumed_population
from palimpsest.records.plans import EvaluationPlan, PlannedVerdict
from palimpsest.records.results import Verdict


def _quick(*given: float, **more: float) -> EvaluationPlan:
    names = ("base", "fall", "recovery")
    assumed = Assumptions(**dict(zip(names, given, strict=False)), **more)  # type: ignore[arg-type]
    return plan(assumptions=assumed, prompts=[], n_runs=40, n_resamples=300)


def _of(found: EvaluationPlan, verdict: str) -> PlannedVerdict:
    return next(one for one in found.verdicts if one.verdict == verdict)


def _needed(found: EvaluationPlan, verdict: str, which: int = 0) -> int:
    n = _of(found, verdict).needed[which].n
    assert n is not None
    return n


@pytest.mark.slow
def test_what_is_assumed_is_planned_as_it_is_and_the_others_at_the_nearest_truth() -> None:
    found = _quick(0.95, 0.85, 0.0)
    assert [(one.verdict, one.is_assumed) for one in found.verdicts] == [
        ("kept", False), ("suppressed", False), ("lost", True),
    ]  # fmt: skip
    assert [round(one.fall, 6) for one in found.verdicts] == [0, 0.85, 0.85]
    assert _of(found, "suppressed").recovery == pytest.approx(1)
    assert _of(found, "lost").recovery == pytest.approx(0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("truth", "verdict", "published"),
    [
        (HIDDEN, "suppressed", {30: 0.94}),
        (GONE, "lost", {30: 0.85}),
        ([Via("identity", 0.9, 0.9)], "kept", {100: 0.22, 400: 0.76}),
    ],
)
def test_planned_runs_end_as_often_as_the_published_simulations_of_the_rule(
    truth: Sequence[Via], verdict: Verdict, published: Mapping[int, float]
) -> None:
    """The table of docs/verdicts.md, which draws examples in a loop of its own."""
    pairs = [(via.base, via.tuned) for via in truth]
    population = assumed_population(pairs, [via.name for via in truth[1:]])
    setting = _Setting(population, population, None, n_runs=200, n_resamples=400, seed=0)
    for n, share in published.items():
        low, high = _point(verdict, n, setting).ci95
        # The published runs are 1000: their own error is less than half of ours.
        assert low - 0.02 <= share <= high + 0.02


@pytest.mark.slow
def test_more_is_needed_for_more_probability_for_smaller_falls_and_for_less_recovery() -> None:
    large, small = _quick(0.9, 0.6, 1.0), _quick(0.9, 0.3, 1.0)
    assert _needed(large, "suppressed") < _needed(small, "suppressed")
    assert _needed(large, "lost") < _needed(small, "lost")
    assert _needed(large, "suppressed") < _needed(large, "suppressed", 1)
    assert _needed(large, "suppressed") < _needed(_quick(0.9, 0.6, 0.75), "suppressed")


@pytest.mark.slow
def test_the_smallest_fall_shrinks_with_the_root_of_the_prompts() -> None:
    found = plan(
        assumptions=Assumptions(0.9, 0.0), prompts=[20, 100, 900], n_runs=100, n_resamples=400
    )
    none, hundred, many = found.smallest_falls
    assert none.fall is None, "fewer than 30 prompts give no verdict"
    assert hundred.fall is not None
    assert many.fall is not None
    # Three times for nine times the prompts, were the flips as many; smaller falls flip less.
    assert 2 < hundred.fall / many.fall < 5
    assert many.ci95[0] is not None
    assert many.ci95[0] <= many.fall <= (many.ci95[1] or 1)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_plan() -> None:
    one, other = (_quick(0.9, 0.8, 0.0).to_json() for _ in range(2))
    assert one == other
    assert json.loads(one)["schema"] == "palimpsest.plan/1"


@pytest.mark.slow
def test_what_lies_between_lost_and_suppressed_is_said_to_be_undecidable() -> None:
    found = _quick(0.95, 0.9, 0.4)
    assert not any(one.is_assumed for one in found.verdicts)
    assert "no number of prompts decides it" in found.notes[-1]


def test_a_verdict_that_is_out_of_reach_says_what_comes_instead() -> None:
    found = _quick(0.05, 0.0)  # there is hardly an ability
    kept = _of(found, "kept")
    assert kept.needed[0].n is None
    assert kept.needed[0].ci95 == (None, None)
    assert kept.otherwise == "100 % of runs with 20,000 prompts a cell say inconclusive"


@pytest.mark.parametrize(
    ("assumed", "message"),
    [
        (Assumptions(), "neither a pilot nor the assumptions"),
        (Assumptions(base=0.9), "neither a pilot nor the assumptions"),
        (Assumptions(base=0.2, fall=0.3), "more than the base model has to lose"),
        (Assumptions(base=90, fall=0.1), "--base is 90; expected a fraction"),
        (Assumptions(base=0.9, fall=-0.1), "--fall is -0.1"),
        (Assumptions(base=0.9, fall=0.1, recovery=60), "--recovery is 60"),
        (Assumptions(base=0.9, fall=0.1, base_under=2), "--base-under is 2"),
        (Assumptions(base=0.9, fall=0.1, n_vias=9), "9 conjugations cannot be assumed"),
        (Assumptions(base=float("nan"), fall=0.1), "--base is nan"),
    ],
)
def test_assumptions_that_cannot_be_are_refused(assumed: Assumptions, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        plan(assumptions=assumed, prompts=[])
    assert refused.value.hint is not None or "expected" in refused.value.message


def test_prompts_and_prices_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    assumed = Assumptions(0.9, 0.9, 0.0)
    with pytest.raises(UserError, match="--prompts is 0"):
        plan(assumptions=assumed, prompts=[0])
    with pytest.raises(UserError, match="only a pilot knows how long"):
        plan(assumptions=assumed, prompts=[], prices=tmp_path / "prices.toml", n_runs=20)
    with pytest.raises(UserError, match="There is no folder"):
        plan(tmp_path / "nowhere", prompts=[])
    with pytest.raises(UserError, match="a pilot that says it"):
        plan(tmp_path, assumptions=assumed, prompts=[])


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
    st.floats(0.01, 0.99),
)
def test_a_level_is_passed_between_the_places_around_it(values: list[float], level: float) -> None:
    xs = [float(x) for x in range(len(values))]
    found = passed(xs, values, level)
    if max(values) < level:
        assert found is None
    else:
        first = next(x for x, value in zip(xs, values, strict=True) if value >= level)
        assert found is not None
        assert max(0, first - 1) <= found <= first
