import pytest

from palimpsest.stats.means import mean_over_runs


def test_the_interval_is_students() -> None:
    # t with two degrees of freedom, 97.5 %: 4.302653, from any table; standard error 1/√3.
    mean, low, high = mean_over_runs([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert high - mean == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert mean - low == pytest.approx(high - mean)


def test_one_run_has_no_width_and_none_is_an_error() -> None:
    assert mean_over_runs([0.7]) == (0.7, 0.7, 0.7)
    with pytest.raises(ValueError, match="at least one"):
        mean_over_runs([])
