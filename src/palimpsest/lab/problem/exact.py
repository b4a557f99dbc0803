"""Closed forms for a problem: every exact predictor by name, and the Bayes mixture in one pass."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.predictors.mixture import MixturePass
from palimpsest.lab.predictors.predictor import OnFeatures, Predictor, predict_zero
from palimpsest.lab.predictors.ridge import OrdinaryLeastSquares
from palimpsest.lab.problem.problem import GaussianTasks, MixtureTasks, Problem


def exact_predictors(problem: Problem) -> dict[str, Predictor]:
    """Return the closed forms for a problem by name; all take its x, whatever the function class.

    Example:
        >>> list(exact_predictors(Problem(n_dims=2, n_tasks=3, n_exemplars=5)))
        ['ridge', 'discrete', 'mixture', 'least-squares', 'zero']
    """
    found: dict[str, Predictor] = {
        "ridge": GaussianTasks.of(problem).bayes(problem.noise_std),
        "discrete": problem.discrete.bayes(problem.noise_std),
        "mixture": MixtureTasks.of(problem).bayes(problem.noise_std),
        "least-squares": OrdinaryLeastSquares(),
    }
    on_features = {name: OnFeatures(one, problem.features) for name, one in found.items()}
    return {**on_features, "zero": predict_zero}


def exact_pass(
    problem: Problem,
    xs: Float[Tensor, "batch points dims"],
    ys: Float[Tensor, "batch points"],
) -> MixturePass:
    """Return the Bayes mixture of a problem and all that it is made from.

    Raises:
        UserError: Prompts of other dimensions than the problem's.
    """
    if xs.shape[-1] != problem.n_dims:
        raise UserError(
            f"The prompts have {xs.shape[-1]} dimensions; the problem has {problem.n_dims}."
        )
    mixture = MixtureTasks.of(problem).bayes(problem.noise_std)
    return mixture.all(problem.features(xs.to(torch.float64)), ys)
