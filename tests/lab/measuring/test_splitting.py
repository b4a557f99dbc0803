from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.conjugations.ensembles import symmetry_ensemble
from palimpsest.lab.measuring.inference import discrete_share
from palimpsest.lab.measuring.splitting import ExcessSplit, split_excess
from palimpsest.lab.predictors.discrete import DiscreteEstimator
from palimpsest.lab.predictors.ridge import RidgeEstimator
from palimpsest.lab.problem.problem import Problem, exact_pass, exact_predictors
from palimpsest.lab.streams import stream

PROBLEM = Problem(4, 4, 8, noise_std=0.5)
N_MEMBERS = 12
ENSEMBLE = symmetry_ensemble(N_MEMBERS, stream(0, "conjugations"), "rotations", n_dims=4)
BATCH = PROBLEM.batch("cont", 600, seed=0, dtype=torch.float64)
RIDGE = RidgeEstimator(0.5)(BATCH.xs, BATCH.ys)
DISCRETE = ENSEMBLE.members(DiscreteEstimator(PROBLEM.discrete.weights, 0.5), BATCH.xs, BATCH.ys)


def normal(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def models(
    *, share: float = 0.0, shrinkage: float = 0.0, noise: float = 0.0, seed_noise: float = 0.0
) -> Tensor:
    """Three seeds of a model with known faults, under every symmetry."""
    n_seeds, (n_prompts, n_points) = 3, RIDGE.shape
    common = RIDGE + share * (DISCRETE - RIDGE) - shrinkage * RIDGE
    of_seeds = seed_noise * normal(n_seeds, 1, n_prompts, n_points, seed=1)
    of_members = noise * normal(n_seeds, N_MEMBERS, n_prompts, n_points, seed=2)
    return common + of_seeds + of_members


def split(predictions: Tensor, n_resamples: int = 200) -> ExcessSplit:
    rng = np.random.default_rng(0)
    return split_excess(predictions, RIDGE, DISCRETE, rng=rng, n_resamples=n_resamples)


def total(found: ExcessSplit) -> float:
    parts = (
        found.inference,
        found.overlap,
        found.bias,
        found.variance_symmetries,
        found.variance_seeds,
    )
    return sum(part.value for part in parts if part is not None)


def test_ridge_has_no_excess() -> None:
    found = split(models())
    assert found.excess.value == 0
    assert total(found) == 0


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_share_of_the_discrete_solution_is_all_inference(share: float) -> None:
    found = split(models(share=share))
    assert found.inference.value == pytest.approx(found.excess.value)
    assert found.share == pytest.approx(share)
    assert found.bias.value == pytest.approx(0, abs=1e-12)
    assert found.variance_symmetries.value == pytest.approx(0, abs=1e-12)


def test_shrinkage_is_bias_although_it_looks_like_a_share_of_the_discrete_solution() -> None:
    predictions = models(shrinkage=0.3)
    rng = np.random.default_rng(0)
    apparent = discrete_share(predictions[0, 0], RIDGE, DISCRETE[0], rng=rng, n_resamples=100)
    assert apparent.interval.low > 0.1
    found = split(predictions)
    assert found.share == pytest.approx(0, abs=1e-12)
    assert found.bias.value == pytest.approx(float((0.3 * RIDGE).square().mean()))
    assert found.bias.value == pytest.approx(found.excess.value)


def test_a_share_is_found_beside_shrinkage() -> None:
    found = split(models(share=0.4, shrinkage=0.2))
    assert found.share == pytest.approx(0.4)
    assert found.bias.value == pytest.approx(float((0.2 * RIDGE).square().mean()))
    # Both go against ridge's answer.
    assert found.overlap.value > 0


def test_symmetries_of_both_distributions_tell_nothing_of_inference() -> None:
    same = DISCRETE[:1].expand(N_MEMBERS, -1, -1)
    predictions = (RIDGE + 0.4 * (same - RIDGE)).expand(2, -1, -1, -1)
    found = split_excess(predictions, RIDGE, same, rng=np.random.default_rng(0), n_resamples=50)
    assert found.share == pytest.approx(0)
    assert found.bias.value == pytest.approx(found.excess.value)


def test_each_fault_is_measured_beside_the_others() -> None:
    found = split(models(share=0.4, noise=0.6, seed_noise=0.3), 400)
    assert found.variance_seeds is not None
    assert found.variance_symmetries.value == pytest.approx(0.36, rel=0.02)
    assert found.variance_seeds.value == pytest.approx(0.09, rel=0.05)
    assert found.inference.value == pytest.approx(
        float((0.4 * (DISCRETE - RIDGE)).square().mean()), rel=0.02
    )
    # Neither noise has a mean; what is left is their part of a mean over three seeds.
    assert found.bias.value == pytest.approx(0, abs=0.01)
    for part, truth in ((found.variance_symmetries, 0.36), (found.variance_seeds, 0.09)):
        assert part.interval.low < part.value < part.interval.high
        assert part.interval.low - 0.01 < truth < part.interval.high + 0.01


def test_the_parts_add_up_at_every_prefix() -> None:
    found = split(models(share=0.4, shrinkage=0.2, noise=0.6, seed_noise=0.3))
    assert found.variance_seeds is not None
    parts = (
        found.inference,
        found.overlap,
        found.bias,
        found.variance_symmetries,
        found.variance_seeds,
    )
    summed = np.sum([part.by_prefix.values for part in parts], axis=0)
    np.testing.assert_allclose(summed, found.excess.by_prefix.values, rtol=1e-10)
    assert total(found) == pytest.approx(found.excess.value)


def test_one_seed_leaves_what_seeds_differ_in_to_the_bias() -> None:
    found = split(models(noise=0.6, seed_noise=0.3)[:1])
    assert found.variance_seeds is None
    assert found.variance_symmetries.value == pytest.approx(0.36, rel=0.03)
    assert found.bias.value == pytest.approx(0.09, rel=0.1)
    assert total(found) == pytest.approx(found.excess.value)


@pytest.mark.slow
def test_the_excess_is_the_loss_above_ridge_on_fresh_prompts() -> None:
    batch = PROBLEM.batch("cont", 4000, seed=5, dtype=torch.float64)
    exact = exact_pass(PROBLEM, batch.xs, batch.ys)
    mixture, ridge = (
        float((found - batch.targets).square().mean()) for found in (exact.predictions, exact.ridge)
    )
    gap = mixture - ridge
    bayes = exact_predictors(PROBLEM)["mixture"]
    members = ENSEMBLE.members(bayes, BATCH.xs, BATCH.ys)[None]
    # In distribution equal, under every symmetry; four standard errors of 600 prompts.
    assert split(members).excess.value == pytest.approx(gap, abs=0.03)


@pytest.mark.slow
def test_the_bayes_mixture_is_explained_by_its_own_prior() -> None:
    mixture = exact_predictors(PROBLEM)["mixture"]
    members = ENSEMBLE.members(mixture, BATCH.xs, BATCH.ys)
    rng = np.random.default_rng(0)
    by_share = split(members[None])
    by_prior = split_excess(members[None], RIDGE, members, rng=rng, n_resamples=100)
    assert by_prior.inference.value == pytest.approx(by_prior.excess.value)
    assert by_share.inference.value != pytest.approx(by_share.excess.value, rel=0.05)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_an_error() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="at least two symmetries"):
        split_excess(models()[:, :1], RIDGE, DISCRETE[:1], rng=rng)
    with pytest.raises(UserError, match=r"need discrete answers of \(12, 600, 9\)"):
        split_excess(models(), RIDGE, DISCRETE[:3], rng=rng)
