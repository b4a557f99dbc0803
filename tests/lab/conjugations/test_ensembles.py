from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.conjugations.ensembles import (
    GROUPS,
    PromptEnsemble,
    default_kind,
    symmetry_ensemble,
)
from palimpsest.lab.conjugations.transformations import (
    LabelNegation,
    LabelScaling,
    conjugated,
    is_symmetry,
)
from palimpsest.lab.predictors.discrete import DiscreteEstimator
from palimpsest.lab.predictors.predictor import Prompt
from palimpsest.lab.predictors.ridge import RidgeEstimator
from palimpsest.lab.problem.problem import Problem

PROBLEM = Problem(4, 4, 8, noise_std=0.5)
SKEWED = tuple(tuple(2.0**-i if i == j else 0.0 for j in range(4)) for i in range(4))
DISCRETE = DiscreteEstimator(PROBLEM.discrete.weights, 0.5)


def drawn(n: int, kind: str = "rotations", seed: int = 0) -> PromptEnsemble:
    return symmetry_ensemble(n, torch.Generator().manual_seed(seed), kind, n_dims=4)


def prompt(n: int = 6) -> Prompt:
    batch = PROBLEM.batch("cont", n, seed=0, dtype=torch.float64)
    return Prompt(batch.xs, batch.ys)


@pytest.mark.parametrize("kind", GROUPS)
def test_the_members_are_what_each_conjugation_gives_alone(kind: str) -> None:
    ensemble = drawn(7, kind)
    mixed = replace(ensemble, conjugations=(*ensemble.conjugations, LabelScaling(2.0)))
    members = mixed.members(DISCRETE, *prompt())
    for member, conjugation in zip(members, mixed.conjugations, strict=True):
        alone = conjugation.invert(DISCRETE(*conjugation.apply(prompt())))
        torch.testing.assert_close(member, alone)


def test_it_is_the_mean_over_its_conjugations_asked_in_one_call() -> None:
    ensemble = drawn(5)
    one_by_one = [conjugated(DISCRETE, one)(*prompt()) for one in ensemble.conjugations]
    torch.testing.assert_close(ensemble(DISCRETE)(*prompt()), torch.stack(one_by_one).mean(0))


@pytest.mark.parametrize(("limit", "sizes"), [(None, [30]), (7, [7, 7, 7, 7, 2])])
def test_all_members_go_to_the_predictor_together_up_to_the_limit(
    limit: int | None, sizes: list[int]
) -> None:
    asked: list[int] = []

    def predictor(xs: Tensor, ys: Tensor) -> Tensor:
        asked.append(len(xs))
        return DISCRETE(xs, ys)

    ensemble = replace(drawn(5), prompts_per_call=limit)
    torch.testing.assert_close(ensemble(predictor)(*prompt()), drawn(5)(DISCRETE)(*prompt()))
    assert asked == sizes


def test_conjugations_of_labels_alone_are_batched_as_well() -> None:
    ensemble = PromptEnsemble("labels", (LabelNegation(), LabelScaling(3.0)))
    members = ensemble.members(RidgeEstimator(0.5), *prompt())
    for member in members:
        torch.testing.assert_close(member, RidgeEstimator(0.5)(*prompt()))


@pytest.mark.parametrize("kind", GROUPS)
def test_members_are_symmetries_and_all_different(kind: str) -> None:
    ensemble = drawn(12, kind)
    assert all(is_symmetry(member, PROBLEM, "cont") for member in ensemble.conjugations)
    assert not any(is_symmetry(member, PROBLEM, "disc") for member in ensemble.conjugations)
    assert len({member.fingerprint for member in ensemble.conjugations}) == 12


def test_a_finite_group_is_given_whole_but_for_the_identity() -> None:
    signs = drawn(15, "signs")
    matrices = {
        tuple(member.matrix.diagonal().tolist())
        for member in signs.conjugations
        if member.matrix is not None
    }
    assert len(matrices) == 15
    assert (1.0,) * 4 not in matrices


@pytest.mark.parametrize("kind", GROUPS)
def test_a_smaller_ensemble_is_the_beginning_of_a_larger_one(kind: str) -> None:
    few, many = ([member.fingerprint for member in drawn(n, kind).conjugations] for n in (3, 9))
    assert few == many[:3]


@pytest.mark.slow
def test_an_ensemble_leads_the_discrete_estimator_to_ridge_but_not_all_the_way() -> None:
    batch = PROBLEM.batch("cont", 400, seed=0, dtype=torch.float64)
    plain = DISCRETE(batch.xs, batch.ys)
    ensemble = drawn(32)(DISCRETE)(batch.xs, batch.ys)
    ridge = RidgeEstimator(0.5)(batch.xs, batch.ys)
    losses = [float((found - batch.targets).square().mean()) for found in (plain, ensemble, ridge)]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, "rotations"),
        ({"function_class": "quadratic"}, "rotations"),
        ({"function_class": "fourier"}, "signed-permutations"),
        ({"input_covariance": SKEWED}, "signs"),
    ],
)
def test_the_default_group_is_the_largest_of_symmetries(
    change: dict[str, object], kind: str
) -> None:
    assert default_kind(Problem(**{"n_dims": 4, "n_tasks": 2, "n_exemplars": 3, **change})) == kind  # type: ignore[arg-type]


def test_inputs_without_symmetry_are_an_error() -> None:
    covariance = ((1.0, 0.5, 0.1), (0.5, 2.0, 0.0), (0.1, 0.0, 3.0))
    with pytest.raises(UserError, match="leaves inputs of this covariance as they are"):
        default_kind(Problem(3, 2, 4, input_covariance=covariance))


def test_what_makes_no_sense_is_an_error() -> None:
    with pytest.raises(UserError, match=r"named 'rotation'. Did you mean 'rotations'"):
        drawn(3, "rotation")
    with pytest.raises(UserError, match="n is 0"):
        drawn(0)
    with pytest.raises(UserError, match="There are 15 signs of 4 dimensions; 16 were asked for"):
        drawn(16, "signs")
    with pytest.raises(UserError, match="needs at least one conjugation"):
        PromptEnsemble("none", ())
    with pytest.raises(UserError, match="one of 4 dimensions; the prompts have 3"):
        drawn(2)(RidgeEstimator(1.0))(torch.zeros(1, 2, 3), torch.zeros(1, 2))
