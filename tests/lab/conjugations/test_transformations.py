from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from palimpsest.conjugation import Conjugation
from palimpsest.errors import UserError
from palimpsest.lab.conjugations.transformations import (
    CoordinatePermutation,
    CoordinateSigns,
    LabelNegation,
    LabelScaling,
    PromptChain,
    PromptConjugation,
    Rotation,
    conjugated,
    is_symmetry,
    symmetry_note,
)
from palimpsest.lab.predictors.discrete import DiscreteEstimator
from palimpsest.lab.predictors.mixture import MixtureEstimator
from palimpsest.lab.predictors.predictor import OnFeatures, Prompt
from palimpsest.lab.predictors.ridge import OrdinaryLeastSquares, RidgeEstimator
from palimpsest.lab.problem.features import (
    FUNCTION_CLASSES,
    Features,
    LinearFeatures,
    features_of,
)
from palimpsest.lab.problem.problem import DiscreteTasks, GaussianTasks, MixtureTasks, Problem

N_DIMS = 3
PROBLEM = Problem(N_DIMS, 4, 9, noise_std=0.6)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


ROTATION = Rotation.drawn(N_DIMS, generator())
SIGNS = CoordinateSigns([1, -1, 1])
PERMUTATION = CoordinatePermutation([2, 0, 1])
EVERY: dict[str, PromptConjugation] = {
    "identity": CoordinateSigns([1, 1, 1]),
    "scale": LabelScaling(2.5),
    "negative-scale": LabelScaling(-0.5),
    "negation": LabelNegation(),
    "rotation": ROTATION,
    "signs": SIGNS,
    "permutation": PERMUTATION,
    "chain": PromptChain([ROTATION, LabelNegation(), PERMUTATION]),
    "scaling-chain": PromptChain([LabelScaling(2.0), ROTATION]),
    "chain-that-comes-back": PromptChain([LabelScaling(4.0), LabelScaling(0.25)]),
}
every = pytest.mark.parametrize("conjugation", EVERY.values(), ids=EVERY)
# The sums of a prompt's likelihood come to a few hundred; the rest is rounding.
close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


def prompt(problem: Problem = PROBLEM) -> Prompt:
    found = problem.batch("mix", 20, seed=1, dtype=torch.float64)
    return Prompt(found.xs, found.ys)


def closed_under(*moves: Tensor) -> DiscreteTasks:
    """A set of tasks that each of the matrices maps to itself."""
    rows = {
        tuple(row) for row in DiscreteTasks.drawn(2, N_DIMS, 1.0, generator(4)).weights.tolist()
    }
    while True:
        more = {
            tuple(round(v, 12) for v in (torch.tensor(row).double() @ move.double()).tolist())
            for row in rows
            for move in moves
        }
        known = {tuple(round(v, 12) for v in row) for row in rows}
        if more <= known:
            return DiscreteTasks(torch.tensor(sorted(known), dtype=torch.float64))
        rows = known | more


EYE = torch.eye(N_DIMS).double()
LINEAR = LinearFeatures(N_DIMS)
SETS = {
    "random": DiscreteTasks.drawn(4, N_DIMS, 1.0, generator(3)),
    "closed under negation": closed_under(-EYE),
    "closed under the signs": closed_under(torch.diag(torch.tensor([1.0, -1.0, 1.0]))),
    "closed under the permutation": closed_under(EYE[:, [2, 0, 1]]),
    "all signs and orders": closed_under(
        *(EYE[:, list(order)] for order in itertools.permutations(range(3))),
        torch.diag(torch.tensor([-1.0, 1.0, 1.0])),
    ),
    "zero": DiscreteTasks(torch.zeros(1, N_DIMS)),
}


def is_same(first: Tensor, second: Tensor) -> bool:
    return bool(torch.isclose(first, second, rtol=1e-7, atol=1e-7).all())


@every
def test_labels_come_back(conjugation: PromptConjugation) -> None:
    given_prompt = prompt()
    close(conjugation.invert(conjugation.apply(given_prompt).ys), given_prompt.ys)


@every
def test_prompts_keep_their_lengths_and_their_type(conjugation: PromptConjugation) -> None:
    xs, ys = prompt()
    moved = conjugation.apply(Prompt(xs.float(), ys.float()))
    assert (moved.xs.dtype, moved.ys.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(moved.xs.norm(dim=-1), xs.float().norm(dim=-1))


@pytest.mark.slow
@every
@pytest.mark.parametrize("name", SETS)
def test_it_is_a_symmetry_of_a_set_of_tasks_just_when_it_leaves_every_likelihood_as_it_is(
    conjugation: PromptConjugation, name: str
) -> None:
    tasks = SETS[name]
    estimator = DiscreteEstimator(tasks.weights, 0.6)
    before, after = estimator.all(*prompt()), estimator.all(*conjugation.apply(prompt()))
    same = is_same(before.log_likelihood, after.log_likelihood)
    assert conjugation.symmetry_of(tasks, features=LINEAR) == same


@pytest.mark.slow
@every
@pytest.mark.parametrize("function_class", FUNCTION_CLASSES)
def test_it_is_a_symmetry_of_gaussian_tasks_just_when_it_leaves_every_likelihood_as_it_is(
    conjugation: PromptConjugation, function_class: str
) -> None:
    features = features_of(function_class, N_DIMS)
    ridge = RidgeEstimator(0.6)
    xs, ys = prompt()
    moved_xs, moved_ys = conjugation.apply(Prompt(xs, ys))
    before, after = ridge.all(features(xs), ys), ridge.all(features(moved_xs), moved_ys)
    tasks = GaussianTasks(features.n_features)
    same = is_same(before.log_likelihood, after.log_likelihood)
    assert conjugation.symmetry_of(tasks, features=features) == same


@pytest.mark.slow
@every
@pytest.mark.parametrize("name", SETS)
def test_a_symmetry_of_a_mixture_is_one_of_both_its_parts(
    conjugation: PromptConjugation, name: str
) -> None:
    disc, cont = SETS[name], GaussianTasks(N_DIMS)
    symmetry_of = partial(conjugation.symmetry_of, features=LINEAR)
    of_disc, of_cont = symmetry_of(disc), symmetry_of(cont)
    assert symmetry_of(MixtureTasks(0.5, disc, cont)) == (of_disc and of_cont)
    assert symmetry_of(MixtureTasks(1.0, disc, cont)) == of_disc
    assert symmetry_of(MixtureTasks(0.0, disc, cont)) == of_cont


@pytest.mark.slow
@every
@pytest.mark.parametrize("name", SETS)
def test_bayes_predictors_commute_with_the_symmetries_of_their_tasks(
    conjugation: PromptConjugation, name: str
) -> None:
    tasks = SETS[name]
    if conjugation.symmetry_of(tasks, features=LINEAR):
        for predictor in (
            DiscreteEstimator(tasks.weights, 0.6),
            MixtureEstimator(0.4, tasks.weights, 0.6),
        ):
            close(conjugated(predictor, conjugation)(*prompt()), predictor(*prompt()))


@pytest.mark.slow
@every
def test_ridge_and_least_squares_commute_with_every_conjugation_of_linear_functions(
    conjugation: PromptConjugation,
) -> None:
    # Also with label scaling, which is a symmetry of nothing: ridge is homogeneous.
    close(conjugated(RidgeEstimator(0.6), conjugation)(*prompt()), RidgeEstimator(0.6)(*prompt()))
    least_squares = OrdinaryLeastSquares()
    # Near k = d, least squares multiplies rounding by the condition number.
    torch.testing.assert_close(
        conjugated(least_squares, conjugation)(*prompt()),
        least_squares(*prompt()),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.slow
@pytest.mark.parametrize("function_class", FUNCTION_CLASSES)
@every
def test_ridge_on_features_commutes_with_the_symmetries_of_its_tasks(
    conjugation: PromptConjugation, function_class: str
) -> None:
    features: Features = features_of(function_class, N_DIMS)
    ridge = OnFeatures(RidgeEstimator(0.6), features)
    commutes = is_same(conjugated(ridge, conjugation)(*prompt()), ridge(*prompt()))
    scales = abs(conjugation.label_factor) != 1
    tasks = GaussianTasks(features.n_features)
    if not scales:
        assert commutes == conjugation.symmetry_of(tasks, features=features)


def test_the_discrete_estimator_commutes_with_no_rotation() -> None:
    discrete = DiscreteEstimator(SETS["random"].weights, 0.6)
    assert not is_same(conjugated(discrete, ROTATION)(*prompt()), discrete(*prompt()))


def test_rotations_are_no_symmetry_of_fourier_functions() -> None:
    problem = replace(PROBLEM, function_class="fourier")
    assert not is_symmetry(ROTATION, problem, "cont")
    assert is_symmetry(SIGNS, problem, "cont")
    assert is_symmetry(PERMUTATION, problem, "cont")
    assert is_symmetry(ROTATION, replace(PROBLEM, function_class="quadratic"), "cont")


def test_skewed_inputs_keep_signs_but_neither_rotations_nor_orders() -> None:
    problem = replace(PROBLEM, input_covariance=((2.0, 0.0, 0.0), (0.0, 0.7, 0.0), (0.0, 0.0, 0.3)))
    assert is_symmetry(SIGNS, problem, "cont")
    assert is_symmetry(LabelNegation(), problem, "cont")
    assert not is_symmetry(ROTATION, problem, "cont")
    assert not is_symmetry(PERMUTATION, problem, "cont")


def test_what_is_no_use_as_a_symmetry_is_noted() -> None:
    assert symmetry_note(ROTATION, PROBLEM) == ""
    scaling = symmetry_note(LabelScaling(3.0), PROBLEM)
    assert scaling == "'scale:3' is no symmetry of D_cont: under it, a model has to extrapolate."
    identity = symmetry_note(CoordinateSigns([1, 1, 1]), PROBLEM)
    assert "a symmetry of D_disc as well" in identity


@pytest.mark.slow
@given(st.lists(st.sampled_from(sorted(EVERY)), min_size=1, max_size=5))
def test_a_chain_does_what_its_links_do_one_after_the_other(names: list[str]) -> None:
    links = [EVERY[name] for name in names]
    chain, xs_and_ys = PromptChain(links), prompt()
    moved = xs_and_ys
    for link in links:
        moved = link.apply(moved)
    for found, expected in zip(chain.apply(xs_and_ys), moved, strict=True):
        close(found, expected)
    answer = moved.ys
    for link in reversed(links):
        answer = link.invert(answer)
    close(chain.invert(moved.ys), answer)
    # As one linear change, which batched ensembles use.
    close(PromptConjugation.apply(chain, xs_and_ys).xs, moved.xs)
    close(chain.label_factor * xs_and_ys.ys, moved.ys)


@pytest.mark.slow
def test_drawn_rotations_are_orthogonal_and_even() -> None:
    draws = generator()
    matrices = torch.stack(
        [q for _ in range(4000) if (q := Rotation.drawn(3, draws).matrix) is not None]
    )
    close(matrices @ matrices.mT, EYE.expand_as(matrices))
    # Evenly drawn: each entry has mean 0 and variance 1/3. Four standard errors.
    assert float(matrices.mean(0).abs().max()) < 4 * (1 / 3 / 4000) ** 0.5
    assert float((matrices.square().mean(0) - 1 / 3).abs().max()) < 4 * (0.09 / 4000) ** 0.5
    # Half are reflections.
    assert float((torch.linalg.det(matrices) > 0).double().mean()) == pytest.approx(0.5, abs=0.035)


def test_fingerprints_tell_conjugations_apart() -> None:
    assert len({conjugation.fingerprint for conjugation in EVERY.values()}) == len(EVERY)
    assert Rotation.drawn(3, generator()).fingerprint == ROTATION.fingerprint


def test_they_are_conjugations_like_all_others() -> None:
    for conjugation in EVERY.values():
        assert isinstance(conjugation, Conjugation)
        assert conjugation.exact


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelScaling(0.0), "cannot be scaled by 0"),
        (lambda: LabelScaling(float("inf")), "cannot be scaled by inf"),
        (lambda: Rotation(torch.ones(2, 2)), "needs an orthogonal matrix"),
        (lambda: Rotation(torch.ones(2, 3)), r"needs an orthogonal matrix; got \(2, 3\)"),
        (lambda: CoordinateSigns([1, 2]), r"1 or -1, one a dimension; got \[1, 2\]"),
        (lambda: CoordinateSigns([]), "1 or -1"),
        (lambda: CoordinatePermutation([0, 0]), r"every coordinate from 0 once; got \[0, 0\]"),
        (lambda: PromptChain([ROTATION, CoordinateSigns([1, -1])]), "different dimensions"),
        (
            lambda: CoordinateSigns([1, -1]).apply(prompt()),
            "one of 2 dimensions; the prompts have 3",
        ),
    ],
)
def test_what_makes_no_sense_is_an_error(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
