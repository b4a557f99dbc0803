from dataclasses import replace
from typing import Any

import pytest
import torch

from palimpsest.errors import UserError
from palimpsest.lab.problem.features import FUNCTION_CLASSES
from palimpsest.lab.problem.problem import DISTRIBUTIONS, Batch, Problem

PROBLEM = Problem(n_dims=3, n_tasks=4, n_exemplars=7, noise_std=0.5)


def same(first: Batch, second: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("distribution", list(DISTRIBUTIONS))
def test_a_batch_is_a_function_of_seed_and_step(distribution: str) -> None:
    first = PROBLEM.batch(distribution, 8, seed=1, step=5)
    torch.randn(3)  # the global generator plays no part
    PROBLEM.batch(distribution, 8, seed=1, step=4)
    assert same(first, replace(PROBLEM).batch(distribution, 8, seed=1, step=5))
    for other in (
        PROBLEM.batch(distribution, 8, seed=2, step=5),
        PROBLEM.batch(distribution, 8, seed=1, step=6),
        PROBLEM.batch(distribution, 8, seed=1, step=5, purpose="evaluation"),
    ):
        assert not torch.equal(first.xs, other.xs)


@pytest.mark.parametrize("function_class", FUNCTION_CLASSES)
def test_labels_are_the_function_of_the_inputs_plus_noise(function_class: str) -> None:
    problem = replace(PROBLEM, function_class=function_class)
    batch = problem.batch("mix", 2000, seed=0, dtype=torch.float64)
    expected = (problem.features(batch.xs) * batch.weights[:, None]).sum(-1)
    torch.testing.assert_close(batch.targets, expected)
    # Four standard errors over 16 000 labels.
    assert float((batch.ys - batch.targets).std()) == pytest.approx(0.5, abs=0.012)


def test_the_distributions_share_inputs_and_noise() -> None:
    disc, cont = (PROBLEM.batch(name, 8, seed=0, dtype=torch.float64) for name in ("disc", "cont"))
    assert torch.equal(disc.xs, cont.xs)
    torch.testing.assert_close(disc.ys - disc.targets, cont.ys - cont.targets)
    assert bool(disc.is_discrete.all())
    assert not bool(cont.is_discrete.any())


def test_the_tasks_of_no_batch_are_those_of_the_fixed_set() -> None:
    # Were the streams one, the first Gaussian tasks of seed 0 would be the discrete ones.
    weights = PROBLEM.batch("cont", 64, seed=PROBLEM.task_seed, dtype=torch.float64).weights
    assert float((weights[:, None] - PROBLEM.discrete.weights).norm(dim=-1).min()) > 1e-3


def test_single_precision_is_double_precision_rounded() -> None:
    single, double = (
        PROBLEM.batch("mix", 8, seed=0, dtype=dtype) for dtype in (torch.float32, torch.float64)
    )
    for one, two in zip(single, double, strict=True):
        torch.testing.assert_close(one.double(), two.double(), rtol=1e-5, atol=1e-6)


def test_without_noise_rounded_labels_fit_rounded_inputs() -> None:
    batch = replace(PROBLEM, noise_std=0.0).batch("disc", 64, seed=0)
    exact = (batch.xs.double() * batch.weights.double()[:, None]).sum(-1)
    # Half a unit of the last place of y, and of each of three weights times inputs.
    assert float((exact - batch.ys).abs().max()) < 2e-6


def test_another_task_seed_is_another_set() -> None:
    other = replace(PROBLEM, task_seed=1)
    assert not torch.equal(other.discrete.weights, PROBLEM.discrete.weights)
    assert other.task_fingerprint != PROBLEM.task_fingerprint
    assert replace(other, task_seed=0).task_fingerprint == PROBLEM.task_fingerprint


def test_inputs_have_the_stated_covariance() -> None:
    covariance = ((2.0, 0.6, 0.0), (0.6, 1.0, 0.3), (0.0, 0.3, 0.5))
    problem = replace(PROBLEM, input_covariance=covariance)
    xs = problem.batch("cont", 5000, seed=0, dtype=torch.float64).xs.flatten(0, 1)
    # Four standard errors of a covariance of numbers with variance 2 over 40 000 draws.
    torch.testing.assert_close(xs.T.cov(), torch.tensor(covariance).double(), atol=0.06, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_dims": 0}, "n_dims is 0; it must be a whole number of at least 1"),
        ({"n_tasks": -1}, "n_tasks is -1"),
        ({"n_exemplars": 0}, "n_exemplars is 0"),
        ({"noise_std": -0.5}, "noise_std is -0.5; it must be zero or more, and finite"),
        ({"noise_std": float("nan")}, "noise_std is nan"),
        ({"weight_std": 0.0}, "weight_std is 0; it must be more than zero"),
        ({"alpha": 1.5}, "alpha is 1.5; it must lie between 0 and 1"),
        ({"function_class": "cubic"}, "No function class named 'cubic'"),
        ({"input_covariance": ((1.0,),)}, "3 rows of 3 numbers"),
        ({"input_covariance": ((1.0, 0.0), (1.0,))}, "3 rows of 3 numbers"),
        ({"input_covariance": ((1.0, 2.0, 0.0), (2.0, 1.0, 0.0), (0.0, 0.0, 1.0))}, "positive"),
        ({"input_covariance": ((1.0, 0.1, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))}, "symmetric"),
    ],
)
def test_a_problem_that_makes_no_sense_is_an_error(change: dict[str, Any], message: str) -> None:
    fields = {"n_dims": 3, "n_tasks": 4, "n_exemplars": 7, **change}
    with pytest.raises(UserError, match=message):
        Problem(**fields)


def test_a_batch_that_makes_no_sense_is_an_error() -> None:
    with pytest.raises(UserError, match=r"named 'discrete'. Did you mean 'disc'"):
        PROBLEM.tasks("discrete")
    with pytest.raises(UserError, match="size is 0"):
        PROBLEM.batch("mix", 0, seed=0)
