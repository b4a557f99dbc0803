from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.stats.paired import Flips, count_flips, mcnemar_exact, sign_flip_test


@pytest.mark.parametrize(
    ("flips", "p_value"),
    [
        # Cavo et al. 2012, exact conditional test, as in the tests of the R package
        # contingencytables (Fagerland, Lydersen and Laake 2017, chapter 8).
        (Flips(both=59, lost=6, gained=16, neither=80), 0.052479),
        # Bentur et al. 2009; by hand 2 · (1 + 8) / 2^8.
        (Flips(both=1, lost=1, gained=7, neither=12), 18 / 256),
    ],
)
def test_mcnemar_gives_the_published_p_values(flips: Flips, p_value: float) -> None:
    assert mcnemar_exact(flips) == pytest.approx(p_value, abs=5e-7)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_sum_over_outcomes_no_likelier_than_the_one_seen(b: int, c: int) -> None:
    n = b + c
    chances = [math.comb(n, k) / 2**n for k in range(n + 1)]
    # Symmetric chances, equal up to rounding.
    summed = sum(p for p in chances if p <= chances[b] * (1 + 1e-9))
    assert mcnemar_exact(Flips(5, b, c, 7)) == pytest.approx(summed, abs=1e-12)


def test_mcnemar_without_any_flip_is_one() -> None:
    assert mcnemar_exact(Flips(both=100, lost=0, gained=0, neither=0)) == 1.0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=50))
def test_flips_count_each_pair_once(pairs: list[tuple[bool, bool]]) -> None:
    flips = count_flips([first for first, _ in pairs], [second for _, second in pairs])
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    expected = [pairs.count(kind) for kind in kinds]
    assert list(flips) == expected
    assert flips.n == len(pairs)


def test_flips_need_lists_of_one_length() -> None:
    with pytest.raises(ValueError, match="one length"):
        count_flips([True, False], [True])


def test_flips_of_graded_scores_count_rises_and_falls() -> None:
    assert count_flips([0.5, 0.2, 0.7, 0.0], [0.4, 0.9, 0.7, 0.0]) == (1, 1, 1, 1)


def test_random_signs_give_the_p_value_of_all_signs() -> None:
    differences = np.random.default_rng(5).normal(0.4, 1, 12)
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=12)]
    exact = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9)
    found = sign_flip_test(differences, rng=np.random.default_rng(0), n_resamples=40_000)
    # Standard error of 40,000 draws at p = 0.1 is 0.0015.
    assert found == pytest.approx(exact, abs=0.006)


@pytest.mark.parametrize(("lost", "gained"), [(6, 16), (1, 7), (12, 12), (0, 5)])
def test_random_signs_of_right_and_wrong_are_mcnemars_test(lost: int, gained: int) -> None:
    differences = [1.0] * lost + [-1.0] * gained + [0.0] * 20
    found = sign_flip_test(differences, rng=np.random.default_rng(0), n_resamples=40_000)
    exact = mcnemar_exact(Flips(10, lost, gained, 10))
    # At most 0.0025 standard error, at p = 0.5.
    assert found == pytest.approx(exact, abs=0.01)


def test_random_signs_without_any_difference_give_one() -> None:
    assert sign_flip_test([0.0, 0.0], rng=np.random.default_rng(0)) == 1.0


def test_random_signs_alarm_as_often_as_they_say() -> None:
    rng = np.random.default_rng(11)
    alarms = [
        sign_flip_test(rng.normal(0, 1, 40), rng=rng, n_resamples=199) < 0.05 for _ in range(400)
    ]
    # 5 % of 400 are 20; a binomial with 400 draws exceeds 33 once in 400 times.
    assert 8 <= sum(alarms) <= 33
