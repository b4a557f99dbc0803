from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.stats.paired import Flips, count_flips, mcnemar_exact


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
@settings(deadline=None)
def test_mcnemar_is_the_sum_over_outcomes_no_likelier_than_the_one_seen(b: int, c: int) -> None:
    n = b + c
    chances = [math.comb(n, k) / 2**n for k in range(n + 1)]
    # Symmetric chances, equal up to rounding.
    summed = sum(p for p in chances if p <= chances[b] * (1 + 1e-9))
    assert mcnemar_exact(Flips(5, b, c, 7)) == pytest.approx(summed, abs=1e-12)


def test_mcnemar_without_any_flip_is_one() -> None:
    assert mcnemar_exact(Flips(both=100, lost=0, gained=0, neither=0)) == 1.0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=50))
@settings(deadline=None)
def test_flips_count_each_pair_once(pairs: list[tuple[bool, bool]]) -> None:
    flips = count_flips([first for first, _ in pairs], [second for _, second in pairs])
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    expected = [pairs.count(kind) for kind in kinds]
    assert list(flips) == expected
    assert flips.n == len(pairs)


def test_flips_need_lists_of_one_length() -> None:
    with pytest.raises(ValueError, match="one length"):
        count_flips([True, False], [True])
