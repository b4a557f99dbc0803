import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa as of_statsmodels

from palimpsest.stats.agreement import cohens_kappa

tables = st.integers(2, 4).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 30), min_size=n, max_size=n), min_size=n, max_size=n)
)


@given(tables)
def test_kappa_and_its_interval_are_those_of_statsmodels(table: list[list[int]]) -> None:
    found = cohens_kappa(table)
    n = np.sum(table)
    if n == 0 or max(np.sum(table, 0)) * max(np.sum(table, 1)) == n * n:
        assert found is None or n > 0
        return
    theirs = of_statsmodels(np.array(table))
    assert found is not None
    assert found.value == pytest.approx(theirs.kappa, abs=1e-9)
    if theirs.var_kappa > 1e-12:  # below, rounding may have made it negative there
        low, high = theirs.kappa_low, theirs.kappa_upp
        assert found.interval.low == pytest.approx(max(low, -1), abs=1e-6)
        assert found.interval.high == pytest.approx(min(high, 1), abs=1e-6)


def test_judges_who_always_agree_have_one_and_who_never_do_less_than_nothing() -> None:
    assert cohens_kappa([[7, 0], [0, 5]]) == (1.0, (1.0, 1.0))
    opposed = cohens_kappa([[0, 5], [5, 0]])
    assert opposed is not None
    assert opposed.value == -1.0


def test_where_there_is_but_one_category_chance_explains_everything() -> None:
    assert cohens_kappa([[9, 0], [0, 0]]) is None
    assert cohens_kappa([[0, 0], [0, 0]]) is None
