from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.errors import UserError
from palimpsest.lab.measuring.closeness import change_by_closeness
from palimpsest.lab.problem.problem import Problem, exact_pass


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_change_that_grows_with_closeness_is_seen_in_every_bin() -> None:
    near = torch.tensor(rng().normal(size=(500, 4)))
    base = rng().random((500, 4))
    found = change_by_closeness(base, base + near.numpy(), near, rng=rng(), n_resamples=200)
    np.testing.assert_allclose(found.change.values, found.closeness)
    assert np.all(np.diff(found.change.values) > 0)
    assert found.last_minus_first == pytest.approx(found.closeness[-1] - found.closeness[0])
    assert found.interval.low > 0


def test_bins_are_deciles_within_each_prefix() -> None:
    near = torch.tensor(rng().normal(size=(100, 3))) + torch.tensor([0.0, 100.0, -50.0])
    change = rng().random((100, 3))
    found = change_by_closeness(np.zeros((100, 3)), change, near, rng=rng(), n_resamples=50)
    expected = np.zeros((3, 10))
    for k in range(3):
        order = np.argsort(near[:, k].numpy())
        expected[k] = change[order, k].reshape(10, 10).mean(1)
    np.testing.assert_allclose(found.change.values, expected.mean(0))


def test_a_change_that_has_nothing_to_do_with_closeness_shows_no_trend() -> None:
    near = torch.tensor(rng().normal(size=(1000, 4)))
    change = np.random.default_rng(5).normal(size=(1000, 4))
    found = change_by_closeness(np.zeros((1000, 4)), change, near, rng=rng(), n_resamples=400)
    assert found.interval.low < 0 < found.interval.high
    inside = (found.change.low <= 0) & (found.change.high >= 0)
    assert inside.sum() >= 8


def test_the_prefix_without_exemplars_is_left_out() -> None:
    near = torch.tensor(rng().normal(size=(50, 3)))
    near[:, 0] = 0.0
    change = rng().random((50, 3))
    whole = change_by_closeness(np.zeros((50, 3)), change, near, rng=rng(), n_resamples=50)
    rest = change_by_closeness(
        np.zeros((50, 2)), change[:, 1:], near[:, 1:], rng=rng(), n_resamples=50
    )
    np.testing.assert_array_equal(whole.change.values, rest.change.values)


def test_going_over_to_the_discrete_estimator_hurts_far_prompts_most() -> None:
    # A model that no longer infers at all errs most where the fixed tasks fit worst; one that
    # still does would err least there. The measure tells the two apart.
    problem = Problem(3, 4, 8, noise_std=0.5)
    batch = problem.batch("cont", 500, seed=0, dtype=torch.float64)
    exact = exact_pass(problem, batch.xs, batch.ys)
    base, tuned = (
        (found - batch.targets).square().numpy() for found in (exact.ridge, exact.discrete)
    )
    near = exact.log_likelihood_discrete
    found = change_by_closeness(base, tuned, near, rng=rng(), n_resamples=200)
    assert found.interval.high < 0


def test_too_few_prompts_are_an_error() -> None:
    zeros = np.zeros((5, 3))
    with pytest.raises(UserError, match="10 bins need as many prompts"):
        change_by_closeness(zeros, zeros, torch.randn(5, 3), rng=rng())
    with pytest.raises(UserError, match="differ at 0 prefixes"):
        change_by_closeness(zeros, zeros, torch.zeros(5, 3), rng=rng(), n_bins=2)
    with pytest.raises(UserError, match="n_bins is 0"):
        change_by_closeness(zeros, zeros, torch.zeros(5, 3), rng=rng(), n_bins=0)
