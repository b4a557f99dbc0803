import pytest
import torch

from palimpsest.errors import UserError
from palimpsest.lab.problem.problem import DiscreteTasks, GaussianTasks, MixtureTasks


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


DISCRETE = DiscreteTasks.drawn(5, 3, 2.0, generator(1))
GAUSSIAN = GaussianTasks(3, 2.0)


def test_gaussian_weights_have_the_stated_spread() -> None:
    weights = GAUSSIAN.draw(40_000, generator()).weights
    # Standard errors of mean and variance here: 0.01 and 0.03; four of each.
    torch.testing.assert_close(weights.mean(0), torch.zeros(3).double(), atol=0.04, rtol=0)
    torch.testing.assert_close(weights.T.cov(), 4 * torch.eye(3).double(), atol=0.12, rtol=0)


def test_discrete_weights_are_those_of_the_set_in_equal_shares() -> None:
    weights = DISCRETE.draw(20_000, generator()).weights
    matches = (weights[:, None] == DISCRETE.weights).all(-1)
    assert bool((matches.sum(1) == 1).all())
    # Four standard errors of a share of 1/5.
    assert matches.double().mean(0) == pytest.approx([0.2] * 5, abs=0.012)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_a_mixture_says_which_weights_are_discrete(alpha: float) -> None:
    draw = MixtureTasks(alpha, DISCRETE, GAUSSIAN).draw(20_000, generator())
    matches = (draw.weights[:, None] == DISCRETE.weights).all(-1).any(-1)
    assert torch.equal(matches, draw.is_discrete)
    assert float(matches.double().mean()) == pytest.approx(alpha, abs=0.013)


def test_another_alpha_leaves_what_each_part_gives_unchanged() -> None:
    few, many = (MixtureTasks(a, DISCRETE, GAUSSIAN).draw(500, generator()) for a in (0.2, 0.7))
    assert bool((few.is_discrete <= many.is_discrete).all())
    same = few.is_discrete == many.is_discrete
    assert torch.equal(few.weights[same], many.weights[same])


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_lies_between_0_and_1(alpha: float) -> None:
    with pytest.raises(UserError, match=r"alpha is .*; it must lie between 0 and 1"):
        MixtureTasks(alpha, DISCRETE, GAUSSIAN)


def test_a_count_below_one_is_an_error() -> None:
    with pytest.raises(UserError, match="n_dims is 0; it must be a whole number of at least 1"):
        GaussianTasks(0)
    with pytest.raises(UserError, match="n_tasks is -2"):
        DiscreteTasks.drawn(-2, 3, 1.0, generator())


@pytest.mark.parametrize("weight_std", [-1.0, float("inf"), float("nan")])
def test_a_spread_that_is_none_is_an_error(weight_std: float) -> None:
    with pytest.raises(UserError, match=r"weight_std is .*; it must be zero or more, and finite"):
        GaussianTasks(3, weight_std)


def test_a_set_of_tasks_needs_finite_rows() -> None:
    with pytest.raises(UserError, match=r"at least one row; got the shape \(0, 3\)"):
        DiscreteTasks(torch.empty(0, 3))
    with pytest.raises(UserError, match="finite weights"):
        DiscreteTasks(torch.tensor([[1.0, float("nan")]]))


def test_the_parts_of_a_mixture_have_weights_of_one_length() -> None:
    with pytest.raises(UserError, match=r"3 \(discrete\) and 4 \(Gaussian\)"):
        MixtureTasks(0.5, DISCRETE, GaussianTasks(4))
