from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.judging.recommend.score import Estimated, Evidence, estimate

NAN = math.nan


def evidence(*prompts: tuple[float, float, float]) -> Evidence:
    """Base, tuned and under the conjugation, of each prompt."""
    return Evidence(*np.array(prompts, float).T)


def estimated(*all_evidence: Evidence, eligible: list[bool] | None = None) -> list[Estimated]:
    rng = np.random.default_rng(0)
    return estimate(all_evidence, eligible or [True] * len(all_evidence), rng=rng, n_resamples=500)


def test_the_score_is_the_share_of_the_lost_probability_that_comes_back() -> None:
    [found] = estimated(evidence((0.9, 0.1, 0.5), (0.7, 0.3, 0.5)))
    assert found.score.value == pytest.approx((0.4 + 0.2) / (0.8 + 0.4))


@pytest.mark.parametrize(("under", "score"), [(0.2, 0.0), (0.8, 1.0), (0.1, -1 / 6)])
def test_zero_is_as_when_asked_plainly_and_one_is_the_base(under: float, score: float) -> None:
    [found] = estimated(evidence(*[(0.8, 0.2, under)] * 3))
    assert found.score.value == pytest.approx(score)
    assert found.score.ci95 == pytest.approx((score, score))


def test_where_tuning_made_the_bases_answer_likelier_nothing_counts() -> None:
    one = evidence((0.8, 0.2, 0.5), (0.4, 0.9, 0.0))
    assert one.counts.tolist() == [True, False]
    [found] = estimated(one)
    assert found.score.value == pytest.approx(0.5)


def test_a_prompt_without_a_version_counts_on_neither_side() -> None:
    [found] = estimated(evidence((0.8, 0.2, 0.5), (0.9, 0.0, NAN), (NAN, NAN, 0.5)))
    assert found.score.value == pytest.approx(0.5)


def test_without_any_prompt_that_counts_there_is_no_score() -> None:
    [found] = estimated(evidence((0.2, 0.8, 0.5)))
    assert math.isnan(found.score.value)
    assert (found.score.ci95, found.best_share) == (None, 0.0)


def test_one_prompt_has_no_interval() -> None:
    [found] = estimated(evidence((0.8, 0.2, 0.5), (0.2, 0.8, 0.5)))
    assert found.score.ci95 is None


def test_the_best_is_chosen_among_the_eligible_with_the_same_resamples() -> None:
    low, high = evidence(*[(0.8, 0.2, 0.3)] * 4), evidence(*[(0.8, 0.2, 0.7)] * 4)
    assert [one.best_share for one in estimated(low, high)] == [0.0, 1.0]
    assert [one.best_share for one in estimated(low, high, eligible=[True, False])] == [1.0, 0.0]
    assert estimate([], [], rng=np.random.default_rng(0)) == []


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=2, max_size=12))
def test_the_interval_holds_the_score_and_more_is_never_worse(
    prompts: list[tuple[float, float, float]],
) -> None:
    one = evidence(*prompts)
    more = Evidence(one.base, one.tuned, np.minimum(one.under + 0.1, 1.0))
    worse, better = estimated(one, more)
    if one.counts.any():
        assert worse.score.value <= better.score.value
    if worse.score.ci95 is not None and one.counts.sum() == len(prompts):
        slack = 1e-9 * max(1, abs(worse.score.value))  # sums in another order
        assert worse.score.ci95.low - slack <= worse.score.ci95.high
