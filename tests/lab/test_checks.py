import pytest

from palimpsest.errors import UserError
from palimpsest.lab.checks import check_count, check_not_negative, check_positive, check_share


@pytest.mark.parametrize("value", [0, -3, 2.5, True, float("nan")])
def test_a_count_is_a_whole_number_of_at_least_one(value: float) -> None:
    check_count("n_tasks", 1)
    with pytest.raises(UserError, match=r"n_tasks is .*; it must be a whole number of at least 1"):
        check_count("n_tasks", value)


@pytest.mark.parametrize("value", [-1e-9, 1 + 1e-9, float("nan"), float("inf")])
def test_a_share_lies_between_0_and_1(value: float) -> None:
    check_share("alpha", 0)
    check_share("alpha", 1)
    with pytest.raises(UserError, match=r"alpha is .*; it must lie between 0 and 1"):
        check_share("alpha", value)


@pytest.mark.parametrize("value", [-1e-9, float("nan"), float("inf")])
def test_a_standard_deviation_is_finite_and_not_negative(value: float) -> None:
    check_not_negative("noise_std", 0)
    with pytest.raises(UserError, match=r"noise_std is .*; it must be zero or more"):
        check_not_negative("noise_std", value)
    with pytest.raises(UserError, match="noise_std is 0; it must be more than zero"):
        check_positive("noise_std", 0)
