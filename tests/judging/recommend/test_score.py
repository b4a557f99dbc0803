from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.judging.recommend.score import Estimated, estimate
from palimpsest.stats import wilson_interval

NAN = math.nan


def estimated(*returned: list[float], eligible: list[bool] | None = None) -> list[Estimated]:
    rng = np.random.default_rng(0)
    arrays = [np.array(each) for each in returned]
    return estimate(arrays, eligible or [True] * len(arrays), rng=rng, n_resamples=500)


def test_the_score_is_the_share_of_answers_that_come_back_with_wilsons_interval() -> None:
    [found] = estimated([1, 0, 1, 1])
    assert found.score.value == 0.75
    assert found.score.ci95 == wilson_interval(3, 4)


def test_prompts_that_do_not_count_change_nothing() -> None:
    [found] = estimated([1, NAN, 0, NAN])
    assert (found.score.value, found.n_prompts) == (0.5, 2)


def test_without_any_prompt_that_counts_there_is_no_score() -> None:
    [found] = estimated([NAN, NAN])
    assert math.isnan(found.score.value)
    assert (found.score.ci95, found.best_share, found.n_prompts) == (None, 0.0, 0)


def test_the_best_is_chosen_among_the_eligible_with_the_same_resamples() -> None:
    low, high = [0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]
    first, second = estimated(low, high)
    assert first.best_share < 0.1 < 0.9 < second.best_share
    assert [one.best_share for one in estimated(low, high, eligible=[True, False])] == [1.0, 0.0]
    assert estimate([], [], rng=np.random.default_rng(0)) == []


@given(st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=2, max_size=12))
def test_the_interval_holds_the_score_and_more_is_never_worse(returned: list[float]) -> None:
    better = [value if math.isnan(value) else 1.0 for value in returned]
    one, other = estimated(returned, better)
    if one.n_prompts:
        assert one.score.value <= other.score.value == 1.0
        assert one.score.ci95 is not None
        assert one.score.ci95.low <= one.score.value + 1e-12  # 0 and 1 are its own ends
        assert one.score.value <= one.score.ci95.high + 1e-12
        assert one.best_share + other.best_share <= 1.0  # less, where a resample has no prompt
