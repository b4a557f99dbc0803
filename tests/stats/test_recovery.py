from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples

from palimpsest.stats.recovery import (
    Arms,
    Recovery,
    estimate_forgetting,
    estimate_recovery,
    mean_interval,
)

outcomes = st.lists(st.tuples(*[st.booleans()] * 4), min_size=1, max_size=60)


def generator() -> np.random.Generator:
    return np.random.default_rng(12)


def arms(*shares: tuple[int, str]) -> Arms:
    """Return so many examples of each pattern of base, tuned, base under, tuned under."""
    rows = [[mark == "1" for mark in pattern] for n, pattern in shares for _ in range(n)]
    return Arms(*np.array(rows).T)


def recovery_of(found: Arms, *, n_resamples: int = 10_000) -> Recovery:
    return estimate_recovery(
        found, np.arange(len(found.base)), rng=generator(), n_resamples=n_resamples
    )


def test_forgetting_recovery_and_did_by_hand() -> None:
    # base 90/100, tuned 30/100, base under 80/100, tuned under 60/100
    found = recovery_of(arms((30, "1111"), (30, "1011"), (20, "1010"), (10, "1000"), (10, "0000")))
    assert found.recovery == pytest.approx((0.6 - 0.3) / (0.9 - 0.3))
    assert found.did == pytest.approx((0.6 - 0.3) - (0.8 - 0.9))
    assert (found.flips.lost, found.flips.gained) == (0, 30)
    assert found.p_value == pytest.approx(2 * 0.5**30)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
@examples(40)
def test_swapping_base_and_tuned_negates_forgetting(pairs: list[tuple[bool, bool]]) -> None:
    base, tuned = np.array(pairs).T
    clusters = range(len(pairs))
    one = estimate_forgetting(base, tuned, clusters, rng=generator())
    other = estimate_forgetting(tuned, base, clusters, rng=generator())
    assert one.value == -other.value
    assert one.p_value == other.p_value
    assert one.newcombe is not None
    assert other.newcombe is not None
    assert one.newcombe == pytest.approx((-other.newcombe.high, -other.newcombe.low))
    # Quantiles move in steps of one flip, 1/n; two independent bootstraps may differ by a step.
    step = 1.001 / len(pairs)
    assert one.interval == pytest.approx((-other.interval.high, -other.interval.low), abs=step)


@given(outcomes)
@examples(60)
def test_any_data_give_ordered_finite_intervals_that_hold_did(rows: list[Sequence[bool]]) -> None:
    found = recovery_of(Arms(*np.array(rows).T), n_resamples=1_000)
    assert found.did_interval.low < found.did_interval.high
    if found.recovery_interval is None:
        assert found.recovery is None
    else:
        assert -math.inf < found.recovery_interval.low <= found.recovery_interval.high < math.inf


@pytest.mark.parametrize(
    "found",
    [
        arms((50, "1111")),
        arms((50, "0000")),
        arms((50, "0100")),
        arms((48, "1111"), (2, "1011")),
        arms((3, "1011")),
    ],
    ids=["all right", "all wrong", "improved", "two flips", "too few"],
)
def test_recovery_is_undefined_unless_forgetting_is_clear(found: Arms) -> None:
    assert recovery_of(found).recovery is None
    assert recovery_of(found).recovery_interval is None


def test_perfect_recovery_at_floor_and_ceiling_keeps_an_honest_width() -> None:
    found = recovery_of(arms((100, "1011")))
    assert found.recovery == 1
    assert found.recovery_interval is not None
    assert 0.90 < found.recovery_interval.low < 0.98
    assert found.did == 1
    # With 100 of 100, Wilson excludes less than 0.963 for each single accuracy.
    assert 0.90 < found.did_interval.low < 0.98


def test_a_denominator_near_zero_gives_a_wide_interval() -> None:
    clear = recovery_of(arms((300, "1111"), (60, "1011")))
    barely = recovery_of(arms((352, "1111"), (8, "1011")))
    assert clear.recovery_interval is not None
    assert barely.recovery_interval is not None
    assert barely.recovery == clear.recovery == 1
    widths = [high - low for low, high in (clear.recovery_interval, barely.recovery_interval)]
    assert widths[1] > 4 * widths[0]


def test_in_a_large_sample_the_interval_agrees_with_the_delta_method() -> None:
    rng, n = generator(), 4_000
    found = Arms(*(rng.random(n) < accuracy for accuracy in (0.9, 0.3, 0.85, 0.6)))
    fall = found.base.astype(float) - found.tuned
    gain = found.tuned_under.astype(float) - found.tuned
    ratio = gain.mean() / fall.mean()
    deviation = np.std(gain - ratio * fall) / fall.mean() / math.sqrt(n)
    interval = recovery_of(found).recovery_interval
    # The ratio is slightly skewed and the quantiles are drawn: a tenth of the half width.
    assert interval == pytest.approx(
        (ratio - 1.96 * deviation, ratio + 1.96 * deviation), abs=0.2 * deviation
    )


@pytest.mark.parametrize("n", [30, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "truth",
    [(0.99, 0.02, 0.99, 0.97), (0.8, 0.3, 0.75, 0.7), (0.9, 0.2, 0.85, 0.2)],
    ids=["at the boundary", "in the middle", "lost"],
)
def test_the_intervals_cover_the_truth(truth: tuple[float, ...], n: int) -> None:
    rng, n_samples = generator(), 250
    base, tuned, base_under, tuned_under = truth
    hits: dict[str, list[bool]] = {"forgetting": [], "recovery": [], "did": []}
    for _ in range(n_samples):
        sample = Arms(*(rng.random(n) < accuracy for accuracy in truth))
        fall = estimate_forgetting(sample.base, sample.tuned, range(n), rng=rng, n_resamples=300)
        ends = (*fall.interval, *(fall.newcombe or ()))
        hits["forgetting"].append(min(ends) <= base - tuned <= max(ends))
        found = estimate_recovery(sample, range(n), rng=rng, n_resamples=300)
        did = (tuned_under - tuned) - (base_under - base)
        hits["did"].append(found.did_interval.low <= did <= found.did_interval.high)
        if found.recovery_interval is not None:
            low, high = found.recovery_interval
            hits["recovery"].append(low <= (tuned_under - tuned) / (base - tuned) <= high)
    for name, hit in hits.items():
        # Long runs give 0.94 to 0.99; three standard errors of 250 samples are 0.04.
        assert np.mean(hit) >= 0.90, name


@pytest.mark.slow
def test_the_intervals_of_graded_scores_cover_the_truth() -> None:
    rng, n, n_samples = generator(), 60, 250
    hits: dict[str, list[bool]] = {"mean": [], "forgetting": [], "did": []}
    for _ in range(n_samples):
        skill = rng.uniform(-0.1, 0.1, n)  # what an example gives to all four
        base, tuned, under, tuned_under = (
            np.clip(mean + skill + rng.uniform(-0.1, 0.1, n), 0, 1)
            for mean in (0.7, 0.4, 0.6, 0.55)
        )
        found = estimate_forgetting(base, tuned, range(n), rng=rng, n_resamples=300)
        low, high = found.interval
        hits["forgetting"].append(low <= 0.3 <= high)
        low, high = mean_interval(base, range(n), rng=rng, n_resamples=300)
        hits["mean"].append(low <= 0.7 <= high)
        recovery = estimate_recovery(
            Arms(base, tuned, under, tuned_under), range(n), rng=rng, n_resamples=300
        )
        low, high = recovery.did_interval
        hits["did"].append(low <= (0.55 - 0.4) - (0.6 - 0.7) <= high)
        assert found.newcombe is None
        assert recovery.recovery is not None
    # Two imaginary examples of all or nothing make them wide where scores vary little; 250 samples
    # of a 95 % interval fall below 0.91 once in a thousand times.
    assert {name: np.mean(held) >= 0.91 for name, held in hits.items()} == dict.fromkeys(hits, True)
