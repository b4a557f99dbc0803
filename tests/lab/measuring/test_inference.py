from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from palimpsest.lab.measuring.inference import AlphaFit, discrete_share, fit_alpha
from palimpsest.lab.predictors.mixture import MixturePass
from palimpsest.lab.problem.problem import Batch, Problem, exact_pass

PROBLEM = Problem(3, 4, 10, noise_std=0.6, alpha=0.5)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def batch(distribution: str = "mix", n: int = 400) -> Batch:
    return PROBLEM.batch(distribution, n, seed=0, dtype=torch.float64)


def exact(distribution: str = "mix", alpha: float = 0.5, n: int = 400) -> MixturePass:
    found = batch(distribution, n)
    return exact_pass(replace(PROBLEM, alpha=alpha), found.xs, found.ys)


def noise(like: Tensor, size: float, seed: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(like.shape, generator=generator, dtype=like.dtype)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, 1.4, -0.2])
def test_the_share_of_a_fixed_mixture_is_found_at_every_prefix(share: float) -> None:
    parts = exact()
    predictions = share * parts.discrete + (1 - share) * parts.ridge
    found = discrete_share(predictions, parts.ridge, parts.discrete, rng=rng(), n_resamples=200)
    np.testing.assert_allclose(found.by_prefix.values, share, atol=1e-12)
    assert found.overall == pytest.approx(share)


def test_noise_leaves_the_share_within_its_interval() -> None:
    parts = exact()
    predictions = 0.3 * parts.discrete + 0.7 * parts.ridge
    predictions = predictions + noise(predictions, 0.5)
    found = discrete_share(predictions, parts.ridge, parts.discrete, rng=rng(), n_resamples=500)
    low, high = found.by_prefix.low, found.by_prefix.high
    # Of 11 intervals at 95 %, two or more miss in one case of ten; this draw has one at most.
    assert np.mean((low <= 0.3) & (high >= 0.3)) > 0.9
    assert found.interval.low < 0.3 < found.interval.high


def test_the_bayes_mixture_has_the_discrete_share_that_its_posterior_says() -> None:
    disc, cont = exact("disc"), exact("cont")
    on_disc, on_cont = (
        discrete_share(part.predictions, part.ridge, part.discrete, rng=rng(), n_resamples=100)
        for part in (disc, cont)
    )
    # Without exemplars it is α; with ten of them, the task is mostly known.
    assert on_disc.by_prefix.values[0] == pytest.approx(0.5)
    assert on_disc.by_prefix.values[-1] > 0.75
    assert on_cont.by_prefix.values[0] == pytest.approx(0.5)
    assert on_cont.by_prefix.values[-1] < 0.25


def test_where_both_solutions_agree_there_is_no_share() -> None:
    parts = exact()
    ridge = parts.ridge.clone()
    ridge[:, 0] = parts.discrete[:, 0]
    found = discrete_share(parts.predictions, ridge, parts.discrete, rng=rng(), n_resamples=100)
    assert math.isnan(found.by_prefix.values[0])
    assert math.isnan(found.by_prefix.low[0])
    assert np.isfinite(found.by_prefix.values[1:]).all()
    assert math.isfinite(found.overall)


def fitted(predictions: Tensor, parts: MixturePass, n_resamples: int = 200) -> AlphaFit:
    return fit_alpha(predictions, parts, rng=rng(), n_resamples=n_resamples)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1e-9, 0.01, 0.3, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("distribution", ["mix", "cont", "disc"])
def test_the_prior_of_a_bayes_mixture_is_found(alpha: float, distribution: str) -> None:
    predictions = exact(distribution, alpha).predictions
    # The fit is told nothing of the prior that the exact pass was made with.
    found = fitted(predictions, exact(distribution, 0.2))
    assert found.log_odds == pytest.approx(math.log(alpha / (1 - alpha)), abs=1e-3)
    assert found.alpha == pytest.approx(alpha, rel=2e-3)
    assert found.distance < 1e-6
    # Without noise all resamples agree, up to the grid, whose steps are 2 wide at the far ends.
    assert found.log_odds_interval == pytest.approx((found.log_odds, found.log_odds), abs=0.5)


def test_ridge_has_a_prior_of_zero_and_the_discrete_estimator_of_one() -> None:
    parts = exact()
    assert fitted(parts.ridge, parts).alpha == 0
    assert fitted(parts.ridge, parts).log_odds == -math.inf
    assert fitted(parts.discrete, parts).alpha == 1


def test_the_interval_of_the_prior_holds_it_under_noise() -> None:
    predictions = exact("cont", 0.3).predictions
    found = fitted(predictions + noise(predictions, 0.4), exact("cont"), 400)
    assert found.interval.low < 0.3 < found.interval.high
    assert found.interval.high - found.interval.low < 0.3
    assert found.distance == pytest.approx(0.16, rel=0.1)


def test_a_prior_is_found_whatever_the_scale_of_the_evidence() -> None:
    # So little noise makes log likelihood ratios of hundreds; the prior that fits is as extreme.
    problem = replace(PROBLEM, noise_std=0.1, alpha=0.5)
    found = problem.batch("cont", 200, seed=0, dtype=torch.float64)
    parts = exact_pass(problem, found.xs, found.ys)
    g = torch.sigmoid(parts.log_odds + 60)
    fit = fitted(g * parts.discrete + (1 - g) * parts.ridge, parts)
    assert fit.log_odds == pytest.approx(60, abs=0.05)
    assert fit.alpha == 1
