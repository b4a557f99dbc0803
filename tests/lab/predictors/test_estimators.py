import math
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.stats import norm
from tests.lab import direct
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.predictors.discrete import DiscreteEstimator
from palimpsest.lab.predictors.mixture import MixtureEstimator
from palimpsest.lab.predictors.predictor import OnFeatures, Predictor, predict_zero
from palimpsest.lab.predictors.ridge import OrdinaryLeastSquares, RidgeEstimator
from palimpsest.lab.problem.features import FUNCTION_CLASSES
from palimpsest.lab.problem.problem import Batch, Problem, exact_pass, exact_predictors

Array = npt.NDArray[np.float64]

PROBLEM = Problem(n_dims=5, n_tasks=6, n_exemplars=12, noise_std=0.7, weight_std=1.3, alpha=0.3)
WEIGHTS = PROBLEM.discrete.weights
PREDICTORS: dict[str, Predictor] = exact_predictors(PROBLEM)

# Condition numbers of the solves compared here are below 1e4.
close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


def batch(distribution: str = "mix", n: int = 40, problem: Problem = PROBLEM) -> Batch:
    return problem.batch(distribution, n, seed=3, dtype=torch.float64)


def test_ridge_agrees_with_a_solve_of_the_normal_equations_at_every_prefix() -> None:
    found = batch()
    close(RidgeEstimator(0.7, 1.3)(found.xs, found.ys), direct.ridge(found.xs, found.ys, 0.7, 1.3))


def test_the_discrete_estimator_agrees_with_a_softmax_at_every_prefix() -> None:
    found = batch()
    close(
        DiscreteEstimator(WEIGHTS, 0.7)(found.xs, found.ys),
        direct.discrete(found.xs, found.ys, WEIGHTS, 0.7),
    )


def test_the_likelihoods_agree_with_densities_at_every_prefix() -> None:
    xs, ys, *_ = batch()
    close(
        RidgeEstimator(0.7, 1.3).all(xs, ys).log_likelihood,
        direct.log_likelihood_continuous(xs, ys, 0.7, 1.3),
    )
    close(
        DiscreteEstimator(WEIGHTS, 0.7).all(xs, ys).log_likelihood,
        direct.log_likelihood_discrete(xs, ys, WEIGHTS, 0.7),
    )


def test_least_squares_agrees_with_the_pseudo_inverse_at_every_prefix() -> None:
    xs, ys, *_ = batch()
    # Around k = d the pseudo-inverse has condition numbers up to about 1e4.
    torch.testing.assert_close(
        OrdinaryLeastSquares()(xs, ys), direct.least_squares(xs, ys), rtol=1e-8, atol=1e-8
    )


def test_least_squares_takes_repeated_inputs() -> None:
    xs, ys, *_ = batch()
    xs = xs[:, [0, 0, 1, 0, 2, 1, 3, 2, 4, 5, 5, 6, 7]]
    torch.testing.assert_close(
        OrdinaryLeastSquares()(xs, ys), direct.least_squares(xs, ys), rtol=1e-8, atol=1e-8
    )


def test_in_one_dimension_the_mixture_agrees_with_numerical_integration() -> None:
    noise_std, weight_std, alpha, tasks = 0.8, 1.5, 0.35, np.array([-1.0, 0.4, 2.0])
    problem = Problem(1, 3, 6, noise_std=noise_std, weight_std=weight_std)
    xs, ys, *_ = batch("cont", 3, problem)
    weights = torch.tensor(tasks)[:, None]
    found = MixtureEstimator(alpha, weights, noise_std, weight_std).all(xs, ys)
    # Twelve standard deviations of the prior. The trapezoid rule converges exponentially on smooth
    # functions that vanish at both ends.
    grid = np.linspace(-18, 18, 20_001)
    for i, k in ((i, k) for i in range(3) for k in range(7)):
        x, y = xs[i, :, 0].numpy(), ys[i].numpy()

        def likelihood(w: Array, x: Array = x[:k], y: Array = y[:k]) -> Array:
            return np.asarray(norm.pdf(y, w[:, None] * x, noise_std).prod(1))

        joint = norm.pdf(grid, 0, weight_std) * likelihood(grid)
        p_cont = np.trapezoid(joint, grid)
        mean_cont = np.trapezoid(grid * joint, grid) / p_cont
        shares = likelihood(tasks)
        g = alpha * shares.mean() / (alpha * shares.mean() + (1 - alpha) * p_cont)
        mean_disc = float(shares @ tasks / shares.sum())
        expected = (g * mean_disc + (1 - g) * mean_cont) * x[k]
        assert float(found.predictions[i, k]) == pytest.approx(expected, rel=1e-9, abs=1e-10)
        assert float(found.task_posterior[i, k]) == pytest.approx(g, rel=1e-9)
        log_p_cont = float(found.log_likelihood_continuous[i, k])
        assert log_p_cont == pytest.approx(math.log(p_cont), abs=1e-9)


def test_alpha_1_is_the_discrete_estimator_and_alpha_0_ridge() -> None:
    xs, ys, *_ = batch()
    mixture = partial(MixtureEstimator, weights=WEIGHTS, noise_std=0.7, weight_std=1.3)
    assert torch.equal(mixture(1.0)(xs, ys), DiscreteEstimator(WEIGHTS, 0.7)(xs, ys))
    assert torch.equal(mixture(0.0)(xs, ys), RidgeEstimator(0.7, 1.3)(xs, ys))


@pytest.mark.parametrize(("limit", "direction"), [(0.0, 1), (1.0, -1)])
def test_alpha_comes_to_its_limits_without_a_jump(limit: float, direction: int) -> None:
    # So noisy, and after so few exemplars, no prompt's odds are beyond 1e4.
    xs, ys, *_ = batch(problem=replace(PROBLEM, n_exemplars=2, noise_std=3.0))
    mixture = partial(MixtureEstimator, weights=WEIGHTS, noise_std=3.0, weight_std=1.3)
    end = mixture(limit)(xs, ys)
    gaps = [
        float((mixture(limit + direction * step)(xs, ys) - end).abs().max())
        for step in (1e-3, 1e-6, 1e-9, 1e-15)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-9


def test_task_posteriors_sum_to_one() -> None:
    xs, ys, *_ = batch()
    found = MixtureEstimator(0.3, WEIGHTS, 0.7, 1.3).all(xs, ys)
    g = found.task_posterior
    assert bool(((g >= 0) & (g <= 1)).all())
    close(g + torch.sigmoid(-found.log_odds), torch.ones_like(g))
    # Bayes' rule, and the law of total probability over the prompt's two explanations.
    p_mix = 0.3 * found.log_likelihood_discrete.exp() + 0.7 * found.log_likelihood_continuous.exp()
    close(g * p_mix, 0.3 * found.log_likelihood_discrete.exp())


def test_without_exemplars_the_posterior_is_the_prior() -> None:
    xs, ys, *_ = batch()
    found = MixtureEstimator(0.3, WEIGHTS, 0.7, 1.3).all(xs, ys)
    close(found.task_posterior[:, 0], torch.full((40,), 0.3, dtype=torch.float64))
    assert torch.equal(found.ridge[:, 0], torch.zeros(40).double())
    close(found.discrete[:, 0], xs[:, 0] @ WEIGHTS.mean(0))
    close(found.predictions[:, 0], 0.3 * found.discrete[:, 0])


def test_a_single_task_is_predicted_whatever_the_labels() -> None:
    xs, ys, *_ = batch("cont")
    close(DiscreteEstimator(WEIGHTS[:1], 0.7)(xs, ys), xs @ WEIGHTS[0])
    repeated = WEIGHTS[:1].repeat(5, 1)
    close(DiscreteEstimator(repeated, 0.7)(xs, ys), xs @ WEIGHTS[0])


def test_a_single_task_that_is_right_is_soon_believed() -> None:
    problem = replace(PROBLEM, n_tasks=1)
    xs, ys, *_ = batch("disc", 200, problem)
    g = exact_pass(problem, xs, ys).task_posterior
    assert float(g[:, -1].mean()) > 0.98
    assert float(g[:, -1].mean()) > float(g[:, 3].mean()) > float(g[:, 0].mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_noise_ridge_fits_every_exemplar(dtype: torch.dtype) -> None:
    problem = replace(PROBLEM, noise_std=0.0)
    found = problem.batch("cont", 40, seed=3, dtype=dtype)
    predictions = RidgeEstimator(0.0, 1.3)(found.xs, found.ys)
    # From d exemplars on, the weights are known; before, they are the smallest that fit.
    slack = 1e-10 if dtype is torch.float64 else 1e-2
    errors = (predictions - found.targets).abs()[:, 6:]
    assert float(errors.max()) < slack
    # One of five exemplars short, or ill conditioned by bad luck, rounding counts for more.
    least_norm = direct.least_squares(found.xs.double(), found.ys.double())
    torch.testing.assert_close(predictions[:, :5], least_norm[:, :5], rtol=0.0, atol=slack)


@pytest.mark.parametrize("noise_std", [1e-2, 1e-4, 1e-6])
def test_ridge_stays_accurate_as_the_noise_vanishes(noise_std: float) -> None:
    problem = replace(PROBLEM, noise_std=noise_std)
    xs, ys, *_ = batch("cont", 20, problem)
    found = RidgeEstimator(noise_std, 1.3)(xs, ys)
    # An orthogonal factorisation of [X; λI], whose condition number is not squared.
    penalty = (noise_std / 1.3) * torch.eye(5).double().expand(20, 5, 5)
    for k in range(1, 13):
        left = torch.cat([xs[:, :k], penalty], dim=1)
        right = torch.cat([ys[:, :k, None], torch.zeros(20, 5, 1).double()], dim=1)
        weights = torch.linalg.lstsq(left, right).solution
        expected = (xs[:, k, None] @ weights)[:, 0, 0]
        torch.testing.assert_close(found[:, k], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("noise_std", [0.7, 0.05])
def test_both_updates_of_ridge_agree(noise_std: float, monkeypatch: pytest.MonkeyPatch) -> None:
    xs, ys, *_ = batch("cont", 200, replace(PROBLEM, noise_std=noise_std))
    signal = 1.3**2 * float(xs.square().sum((1, 2)).max())
    assert signal / noise_std**2 < 1e5  # the condition up to which the covariance is updated
    by_covariance = RidgeEstimator(noise_std, 1.3).all(xs, ys)
    monkeypatch.setattr("palimpsest.lab.predictors.ridge._WORST_CONDITION", 0.0)
    by_root = RidgeEstimator(noise_std, 1.3).all(xs, ys)
    assert not torch.equal(by_covariance.predictions, by_root.predictions)
    for found, expected in zip(by_covariance, by_root, strict=True):
        close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_noise_one_exemplar_decides_between_the_parts(dtype: torch.dtype) -> None:
    problem = replace(PROBLEM, noise_std=0.0)
    disc, cont = (problem.batch(name, 200, seed=3, dtype=dtype) for name in ("disc", "cont"))
    on_disc = exact_pass(problem, disc.xs, disc.ys)
    on_cont = exact_pass(problem, cont.xs, cont.ys)
    assert float(on_disc.task_posterior[:, 1:].min()) > 0.99
    # In single precision a Gaussian task may pass for a discrete one by a single label, rarely.
    assert float(on_cont.task_posterior[:, 2:].max()) < 0.01
    torch.testing.assert_close(
        on_disc.predictions[:, 2:], disc.targets[:, 2:].double(), rtol=1e-5, atol=1e-5
    )


def test_little_noise_is_no_jump_from_none() -> None:
    xs, ys, *_ = batch("disc", 40, replace(PROBLEM, noise_std=0.0))
    for make in (RidgeEstimator, partial(DiscreteEstimator, WEIGHTS)):
        torch.testing.assert_close(make(1e-9)(xs, ys), make(0.0)(xs, ys), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", PREDICTORS)
def test_later_points_change_nothing(name: str) -> None:
    xs, ys, *_ = batch()
    k = 5
    changed_xs, changed_ys = xs.clone(), ys.clone()
    changed_xs[:, k + 1 :] = 7.0
    changed_ys[:, k:] = -100.0
    before = PREDICTORS[name](xs, ys)
    after = PREDICTORS[name](changed_xs, changed_ys)
    assert torch.equal(before[:, : k + 1], after[:, : k + 1])


@pytest.mark.parametrize("name", PREDICTORS)
def test_prompts_do_not_see_each_other(name: str) -> None:
    xs, ys, *_ = batch(n=3)
    together = PREDICTORS[name](xs, ys)
    alone = torch.cat([PREDICTORS[name](xs[i : i + 1], ys[i : i + 1]) for i in range(3)])
    close(together, alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ridge", "discrete", "mixture"])
@pytest.mark.parametrize("function_class", FUNCTION_CLASSES)
def test_each_estimator_is_best_on_its_own_distribution(name: str, function_class: str) -> None:
    problem = Problem(3, 4, 15, noise_std=0.5, function_class=function_class)
    own = {"ridge": "cont", "discrete": "disc", "mixture": "mix"}[name]
    found = batch(own, 1500, problem)
    losses = {
        other: float((predictor(found.xs, found.ys) - found.targets).square().mean())
        for other, predictor in exact_predictors(problem).items()
    }
    assert min(losses, key=lambda other: losses[other]) == name


def test_answers_do_not_depend_on_how_the_work_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    xs, ys, *_ = batch()
    expected = exact_pass(PROBLEM, xs, ys)
    monkeypatch.setattr("palimpsest.lab.predictors.ridge._BLOCK", 5 * 5 * 7)
    monkeypatch.setattr("palimpsest.lab.predictors.discrete._N_PROMPTS", 9)
    monkeypatch.setattr("palimpsest.lab.predictors.discrete._CHUNK", 18)  # two tasks at a time
    for found, whole in zip(exact_pass(PROBLEM, xs, ys), expected, strict=True):
        close(found, whole)


def test_the_answers_are_in_double_precision_whatever_comes_in() -> None:
    found = PROBLEM.batch("mix", 8, seed=0)
    for name, predictor in PREDICTORS.items():
        expected = torch.float32 if name == "zero" else torch.float64
        assert predictor(found.xs, found.ys).dtype == expected


def test_an_empty_batch_has_empty_answers() -> None:
    for predictor in PREDICTORS.values():
        assert predictor(torch.empty(0, 4, 5), torch.empty(0, 4)).shape == (0, 4)


def test_estimators_see_the_features_of_other_function_classes() -> None:
    problem = replace(PROBLEM, function_class="quadratic")
    xs, ys, *_ = batch("cont", 10, problem)
    expected = direct.ridge(problem.features(xs), ys, 0.7, 1.3)
    close(OnFeatures(RidgeEstimator(0.7, 1.3), problem.features)(xs, ys), expected)


@pytest.mark.usefixtures("unchecked")
def test_shapes_that_do_not_fit_are_errors() -> None:
    xs, ys = torch.zeros(2, 4, 5), torch.zeros(2, 4)
    with pytest.raises(UserError, match="5 dimensions; the tasks' weights have 3"):
        DiscreteEstimator(torch.zeros(2, 3), 1.0)(xs, ys)
    with pytest.raises(UserError, match="have 5 dimensions; the problem has 3"):
        exact_pass(Problem(3, 2, 3), xs, ys)
    for predictor in PREDICTORS.values():
        if predictor is not predict_zero:
            with pytest.raises(UserError, match=r"got \(2, 4, 5\) and \(2, 3\)"):
                predictor(xs, ys[:, :3])
    with pytest.raises(UserError, match=r"a task a row; got the shape \(0, 5\)"):
        DiscreteEstimator(torch.zeros(0, 5), 1.0)(xs, ys)


def test_numbers_out_of_range_are_errors() -> None:
    with pytest.raises(UserError, match="noise_std is -1"):
        RidgeEstimator(-1.0)
    with pytest.raises(UserError, match="weight_std is 0; it must be more than zero"):
        RidgeEstimator(1.0, 0.0)
    with pytest.raises(UserError, match="noise_std is nan"):
        DiscreteEstimator(WEIGHTS, math.nan)
    with pytest.raises(UserError, match=r"alpha is 1.2; it must lie between 0 and 1"):
        MixtureEstimator(1.2, WEIGHTS, 1.0)
    with pytest.raises(UserError, match=r"alpha is -0.1"):
        MixtureEstimator(-0.1, WEIGHTS, 1.0)


def peak_memory_mib(n_tasks: int) -> float:
    """Return what one pass over so many tasks adds to the memory of a fresh process."""
    code = f"""
import resource, torch
from palimpsest.lab.predictors.discrete import DiscreteEstimator
torch.manual_seed(0)
weights = torch.randn({n_tasks}, 4, dtype=torch.float64)
xs, ys = torch.randn(4, 6, 4), torch.randn(4, 6)
DiscreteEstimator(weights[:64], 1.0)(xs, ys)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
DiscreteEstimator(weights, 1.0)(xs, ys)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.slow
def test_a_million_tasks_need_little_memory() -> None:
    # Held at once, prompts × points × tasks would be 192 MiB, and the weights once more 32.
    assert peak_memory_mib(2**20) < 16


@pytest.mark.slow
def test_many_tasks_give_what_one_softmax_gives() -> None:
    generator = torch.Generator().manual_seed(0)
    weights: Tensor = torch.randn(2**15, 3, generator=generator, dtype=torch.float64)
    problem = Problem(3, 2, 6)
    xs, ys, *_ = batch("cont", 8, problem)
    close(DiscreteEstimator(weights, 1.0)(xs, ys), direct.discrete(xs, ys, weights, 1.0))
    # So many tasks drawn from the Gaussian are the Gaussian, to Monte Carlo error.
    ridge = RidgeEstimator(1.0)(xs, ys)
    assert float((DiscreteEstimator(weights, 1.0)(xs, ys) - ridge).abs().mean()) < 0.03
