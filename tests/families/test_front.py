from __future__ import annotations

import numpy as np
import pytest
from tests.families.simulated import Truth, evidence_of, simulated, suite_of

from palimpsest.families.front import Candidate, Evidence, pareto
from palimpsest.families.target import Target
from palimpsest.records import Estimate, FrontPoint

TRUTH = {
    "base": Truth(0.95, 0.40),
    "tuned": Truth(0.20, 0.90),
    "half": Truth(0.70, 0.80),
    "more": Truth(0.90, 0.60),
}


def points(seed: int = 0, **settings: int) -> dict[str, FrontPoint]:
    found = simulated(TRUTH, np.random.default_rng(seed), **settings)
    return {point.name: point for point in found.points()}


def test_every_point_lies_within_its_own_intervals() -> None:
    for point in points().values():
        for one in (point.kept, point.target, point.target_change):
            assert one is not None
            assert one.value is not None
            assert one.ci95 is not None
            assert one.ci95[0] <= one.value <= one.ci95[1]


def test_the_tuned_model_is_its_own_reference() -> None:
    tuned = points()["tuned"]
    assert tuned.target_change == Estimate(value=0.0, ci95=(0.0, 0.0))
    assert tuned.recovery.value == 0
    assert (tuned.cells, tuned.selection) == ([], None)


def test_the_halves_are_all_examples_each_once() -> None:
    evidence = simulated(TRUTH, np.random.default_rng(1), n=300, n_target=100)
    first, second = (evidence.half("half", which) for which in (1, 2))
    assert first.n + second.n == 300
    whole = next(point for point in evidence.points() if point.name == "half")
    assert whole.kept.value == pytest.approx((first.n * first.kept + second.n * second.kept) / 300)


def test_nobody_is_on_the_front_whom_another_beats_in_both() -> None:
    worse = evidence_of(
        {"base": [1.0] * 40, "tuned": [0.0] * 40, "good": [1.0] * 40, "bad": [0.0] * 39 + [1.0]},
        {
            "base": [0.0] * 40,
            "tuned": [1.0] * 40,
            "good": [1.0] * 39 + [0.0],
            "bad": [0.0, 0.0] + [1.0] * 38,
        },
    )
    on_front = {point.name for point in worse.points() if point.is_on_front}
    assert on_front == {"tuned", "good"}


def test_a_point_without_a_target_is_not_on_the_front() -> None:
    assert pareto([(0.9, None), (0.5, Estimate(value=0.0))]) == {1}


def test_of_equal_points_both_are_on_the_front() -> None:
    same = Estimate(value=-0.1)
    assert pareto([(0.5, same), (0.5, same)]) == {0, 1}


def test_a_way_of_asking_that_the_target_does_not_know_has_no_place_there() -> None:
    truths = {**TRUTH, "via fr": Truth(0.9, None)}
    found = {point.name: point for point in simulated(truths, np.random.default_rng(0)).points()}
    asked = found["via fr"]
    assert asked.target is None
    assert asked.target_change is None
    assert asked.selection is not None
    assert [cell.part for cell in asked.cells] == ["suite"]


def test_examples_that_somebody_has_no_score_for_are_left_out_for_all() -> None:
    names = [f"{i}" for i in range(40)]
    all_right = dict.fromkeys(names, 1.0)
    some = dict.fromkeys(names[:30], 0.0)
    candidates = [
        Candidate("base", "base", "base", "", all_right, all_right),
        Candidate("tuned", "tuned", "tuned", "", some, all_right),
    ]
    evidence = Evidence(candidates, Target(suite_of(names)), {}, {}, n_resamples=100)
    assert len(evidence.kept.names) == 30
    assert len(evidence.on_target.names) == 40


def test_bits_are_weighed_by_their_bytes_and_saved_against_the_base() -> None:
    names = [f"{i}" for i in range(40)]
    n_bytes = {name: 30 if place % 2 else 10 for place, name in enumerate(names)}
    bits = {
        name: dict.fromkeys(names, value)
        for name, value in (("base", 2.0), ("tuned", 1.0), ("half", 1.5))
    }
    bits["half"] |= {name: 1.1 for name in names if n_bytes[name] == 10}
    kept = dict.fromkeys(names, 1.0)
    evidence = Evidence(
        [
            Candidate("base", "", "base", "", kept, bits["base"]),
            Candidate("tuned", "", "tuned", "", kept, bits["tuned"]),
            Candidate("half", "", "member", "", kept, bits["half"]),
        ],
        Target(suite_of(names), is_text=True, n_bytes=n_bytes),
        dict.fromkeys(names, "all"),
        dict.fromkeys(names, "text"),
        n_resamples=200,
    )
    found = {point.name: point for point in evidence.points()}
    score = (10 * 1.1 + 30 * 1.5) / 40
    half = found["half"]
    assert half.target is not None
    assert half.target.value == pytest.approx(score)
    assert half.target_change is not None
    assert half.target_change.value == pytest.approx((1 - score / 2) - (1 - 1 / 2))
    assert evidence.tuned_gain().value == pytest.approx(0.5)


@pytest.mark.slow
def test_all_intervals_of_a_front_are_covered_together() -> None:
    rng, n_samples = np.random.default_rng(5), 120
    hits = []
    for _ in range(n_samples):
        evidence = simulated(TRUTH, rng, n=150, n_target=150, n_resamples=400)
        found = evidence.points()
        inside = [_holds(point.kept, TRUTH[point.name].kept) for point in found]
        tuned = TRUTH["tuned"].target or 0.0
        inside += [
            _holds(point.target_change, (TRUTH[point.name].target or 0.0) - tuned)
            for point in found
        ]
        hits.append(all(inside))
    # Nominal 0.95; three standard errors of 120 samples are 0.06.
    assert np.mean(hits) >= 0.88


def _holds(found: Estimate | None, true: float) -> bool:
    assert found is not None
    assert found.ci95 is not None
    return found.ci95[0] - 1e-9 <= true <= found.ci95[1] + 1e-9
