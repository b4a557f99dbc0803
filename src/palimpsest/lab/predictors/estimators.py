r"""The exact Bayes predictors, at every prefix, in float64.

.. math::
   D_{mix}: \quad g·e + (1-g)·c, \qquad
   g = \frac{α\,p_{disc}}{α\,p_{disc} + (1-α)\,p_{cont}}

with the discrete prediction e, the ridge prediction c, and the likelihoods of the labels so far.
Source: Kotha, Springer and Raghunathan, ICLR 2024 (arXiv 2309.10105), Section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.predictors.discrete import discrete_pass, weight_size
from palimpsest.lab.predictors.least_squares import least_squares_predict
from palimpsest.lab.predictors.predictor import Predictor, predict_zero
from palimpsest.lab.predictors.ridge import noise_floor, ridge_pass
from palimpsest.lab.problem.checks import check_share, check_std
from palimpsest.lab.problem.features import Features
from palimpsest.lab.problem.problem import Problem


class MixturePass(NamedTuple):
    """What one pass over the prompts gives at every position, in float64."""

    predictions: Float[Tensor, "batch points"]
    """Of the Bayes mixture."""
    task_posterior: Float[Tensor, "batch points"]
    """g, the probability that the task is one of the discrete ones."""
    log_odds: Float[Tensor, "batch points"]
    """log g − log(1 − g); infinite for α = 0 or 1."""
    ridge: Float[Tensor, "batch points"]
    discrete: Float[Tensor, "batch points"]
    log_likelihood_continuous: Float[Tensor, "batch points"]
    log_likelihood_discrete: Float[Tensor, "batch points"]


def mixture_pass(
    xs: Float[Tensor, "batch points dims"],
    ys: Float[Tensor, "batch points"],
    *,
    alpha: float,
    weights: Float[Tensor, "tasks dims"],
    noise_std: float,
    weight_std: float = 1.0,
) -> MixturePass:
    """Return the Bayes mixture and all that it is made from.

    Args:
        xs: Inputs, or their features.
        ys: Labels; the last of each prompt is used by nothing.
        alpha: α.
        weights: The discrete tasks, one a row.
        noise_std: σ.
        weight_std: τ.

    Raises:
        UserError: Shapes that do not fit, or a number out of range.

    Example:
        >>> xs, ys = torch.ones(1, 5, 1), torch.full((1, 5), 3.0)
        >>> found = mixture_pass(xs, ys, alpha=0.5, weights=torch.tensor([[3.0]]), noise_std=1.0)
        >>> found.task_posterior
        tensor([[0.5000, 0.9306, 0.9721, 0.9832, 0.9879]], dtype=torch.float64)
    """
    check_share("alpha", alpha)
    # Both parts must take the labels for equally noisy, or their likelihoods do not compare.
    noise_std = noise_floor(noise_std, max(weight_std, weight_size(weights)), ys.dtype)
    ridge = ridge_pass(xs, ys, noise_std=noise_std, weight_std=weight_std)
    discrete = discrete_pass(xs, ys, weights=weights, noise_std=noise_std)
    log_odds = _logit(alpha) + discrete.log_likelihood - ridge.log_likelihood
    g, rest = torch.sigmoid(log_odds), torch.sigmoid(-log_odds)
    return MixturePass(
        predictions=g * discrete.predictions + rest * ridge.predictions,
        task_posterior=g,
        log_odds=log_odds,
        ridge=ridge.predictions,
        discrete=discrete.predictions,
        log_likelihood_continuous=ridge.log_likelihood,
        log_likelihood_discrete=discrete.log_likelihood,
    )


def log_likelihood_continuous(
    xs: Float[Tensor, "batch points dims"],
    ys: Float[Tensor, "batch points"],
    *,
    noise_std: float,
    weight_std: float = 1.0,
) -> Float[Tensor, "batch points"]:
    r"""Return :math:`\log N(y_k; 0, τ² X_k X_k^\top + σ² I)` before each position."""
    return ridge_pass(xs, ys, noise_std=noise_std, weight_std=weight_std).log_likelihood


def log_likelihood_discrete(
    xs: Float[Tensor, "batch points dims"],
    ys: Float[Tensor, "batch points"],
    *,
    weights: Float[Tensor, "tasks dims"],
    noise_std: float,
) -> Float[Tensor, "batch points"]:
    r"""Return :math:`\log \frac1n \sum_j N(y_k; X_k w_j, σ² I)` before each position."""
    return discrete_pass(xs, ys, weights=weights, noise_std=noise_std).log_likelihood


def task_posterior(
    xs: Float[Tensor, "batch points dims"],
    ys: Float[Tensor, "batch points"],
    *,
    alpha: float,
    weights: Float[Tensor, "tasks dims"],
    noise_std: float,
    weight_std: float = 1.0,
) -> Float[Tensor, "batch points"]:
    """Return g, the probability that a prompt asks for a discrete task, before each position."""
    return mixture_pass(
        xs, ys, alpha=alpha, weights=weights, noise_std=noise_std, weight_std=weight_std
    ).task_posterior


@dataclass(frozen=True)
class RidgeEstimator:
    """The Bayes predictor on ``D_cont``.

    Raises:
        UserError: σ < 0 or τ ≤ 0.

    Example:
        >>> RidgeEstimator(noise_std=-1.0)
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: noise_std is -1; it must be zero or more, and finite.
    """

    noise_std: float
    """σ."""
    weight_std: float = 1.0
    """τ."""

    def __post_init__(self) -> None:
        check_std("noise_std", self.noise_std, zero_allowed=True)
        check_std("weight_std", self.weight_std, zero_allowed=False)

    def __call__(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"], /
    ) -> Float[Tensor, "batch points"]:
        """Predict each y from the exemplars before it."""
        return ridge_pass(xs, ys, noise_std=self.noise_std, weight_std=self.weight_std).predictions


@dataclass(frozen=True, eq=False)
class DiscreteEstimator:
    """The Bayes predictor on ``D_disc``.

    Raises:
        UserError: σ < 0.
    """

    weights: Float[Tensor, "tasks dims"]
    """The tasks, one a row."""
    noise_std: float
    """σ."""

    def __post_init__(self) -> None:
        check_std("noise_std", self.noise_std, zero_allowed=True)

    def __call__(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"], /
    ) -> Float[Tensor, "batch points"]:
        """Predict each y from the exemplars before it."""
        return discrete_pass(xs, ys, weights=self.weights, noise_std=self.noise_std).predictions


@dataclass(frozen=True, eq=False)
class MixtureEstimator:
    """The Bayes predictor on ``D_mix``.

    Raises:
        UserError: α outside 0 to 1, σ < 0 or τ ≤ 0.
    """

    alpha: float
    """α, the prior probability of the discrete tasks."""
    weights: Float[Tensor, "tasks dims"]
    """The tasks, one a row."""
    noise_std: float
    """σ."""
    weight_std: float = 1.0
    """τ."""

    def __post_init__(self) -> None:
        check_share("alpha", self.alpha)
        check_std("noise_std", self.noise_std, zero_allowed=True)
        check_std("weight_std", self.weight_std, zero_allowed=False)

    def all(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"]
    ) -> MixturePass:
        """Return predictions, posterior, both parts and their likelihoods."""
        return mixture_pass(
            xs,
            ys,
            alpha=self.alpha,
            weights=self.weights,
            noise_std=self.noise_std,
            weight_std=self.weight_std,
        )

    def __call__(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"], /
    ) -> Float[Tensor, "batch points"]:
        """Predict each y from the exemplars before it."""
        return self.all(xs, ys).predictions


@dataclass(frozen=True)
class OrdinaryLeastSquares:
    """Least squares without a prior, a contrast; the smallest weights where several fit."""

    def __call__(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"], /
    ) -> Float[Tensor, "batch points"]:
        """Predict each y from the exemplars before it."""
        return least_squares_predict(xs, ys)


@dataclass(frozen=True)
class OnFeatures:
    """A predictor that is shown φ(x), computed in float64, in place of x."""

    predictor: Predictor
    features: Features

    def __call__(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"], /
    ) -> Float[Tensor, "batch points"]:
        """Predict each y from the exemplars before it."""
        return self.predictor(self.features(xs.to(torch.float64)), ys)


def exact_predictors(problem: Problem) -> dict[str, Predictor]:
    """Return the closed forms for a problem by name; all take its x, whatever the function class.

    Example:
        >>> list(exact_predictors(Problem(n_dims=2, n_tasks=3, n_exemplars=5)))
        ['ridge', 'discrete', 'mixture', 'least-squares', 'zero']
    """
    noise_std, weight_std = problem.noise_std, problem.weight_std
    weights = problem.discrete.weights
    on_features: dict[str, Predictor] = {
        "ridge": RidgeEstimator(noise_std, weight_std),
        "discrete": DiscreteEstimator(weights, noise_std),
        "mixture": MixtureEstimator(problem.alpha, weights, noise_std, weight_std),
        "least-squares": OrdinaryLeastSquares(),
    }
    wrapped = {name: OnFeatures(found, problem.features) for name, found in on_features.items()}
    return {**wrapped, "zero": predict_zero}


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
    return mixture_pass(
        problem.features(xs.to(torch.float64)),
        ys,
        alpha=problem.alpha,
        weights=problem.discrete.weights,
        noise_std=problem.noise_std,
        weight_std=problem.weight_std,
    )


def _logit(share: float) -> float:
    """Return log(p/(1 − p)), infinite at 0 and 1."""
    if share in (0.0, 1.0):
        return math.copysign(math.inf, share - 0.5)
    return math.log(share) - math.log1p(-share)
