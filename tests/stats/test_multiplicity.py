from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from tests.examples import examples

from palimpsest.stats.multiplicity import choose_best, holm, in_first_half


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04; never falling: .02 .03 .06 .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.sampled_from([0.0, 1e-9, 0.004, 0.01, 0.01, 0.2, 0.5, 1.0]), min_size=1))
@examples(20)
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []


def test_the_halves_are_the_same_on_every_machine() -> None:
    # Pinned: a change would change which conjugation published runs call the best.
    found = "".join("AB"[not in_first_half(f"repeat/math/{i:04d}")] for i in range(24))
    assert found == "BAAAABABBABBAAAAABABAABB"


def test_the_halves_are_about_equal() -> None:
    n_first = sum(in_first_half(f"example {i}") for i in range(4_000))
    # Four standard deviations of a fair coin.
    assert abs(n_first - 2_000) < 4 * 31.6


def test_the_best_of_several_equals_is_the_first() -> None:
    assert choose_best({"leet": 0.5, "fr": 0.9, "nl": 0.9}) == "fr"


def test_choosing_needs_a_choice() -> None:
    with pytest.raises(ValueError, match="at least one"):
        choose_best({})
