r"""The Bayes predictor for a mixture of discrete and Gaussian tasks at every prefix, in float64.

.. math::
   g·e + (1-g)·c, \qquad g = \frac{α\,p_{disc}}{α\,p_{disc} + (1-α)\,p_{cont}}

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

from palimpsest.lab.checks import check_not_negative, check_positive, check_share
from palimpsest.lab.predictors.discrete import DiscreteEstimator, weight_size
from palimpsest.lab.predictors.ridge import RidgeEstimator, noise_floor


class MixturePass(NamedTuple):
    """The Bayes mixture at every position and all that it is made from, in float64."""

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

    @property
    def by_name(self) -> dict[str, Float[Tensor, "batch points"]]:
        """The predictions of each exact predictor."""
        return {"ridge": self.ridge, "discrete": self.discrete, "mixture": self.predictions}


@dataclass(frozen=True, eq=False)
class MixtureEstimator:
    """The Bayes predictor on ``D_mix``.

    Raises:
        UserError: α outside 0 to 1, σ < 0 or τ ≤ 0.

    Example:
        >>> xs, ys = torch.ones(1, 5, 1), torch.full((1, 5), 3.0)
        >>> found = MixtureEstimator(0.5, torch.tensor([[3.0]]), noise_std=1.0).all(xs, ys)
        >>> found.task_posterior
        tensor([[0.5000, 0.9306, 0.9721, 0.9832, 0.9879]], dtype=torch.float64)
    """

    alpha: float
    """α, the prior probability of the discrete tasks."""
    weights: Float[Tensor, "tasks dims"]
    """The discrete tasks, one a row."""
    noise_std: float
    """σ."""
    weight_std: float = 1.0
    """τ."""

    def __post_init__(self) -> None:
        check_share("alpha", self.alpha)
        check_not_negative("noise_std", self.noise_std)
        check_positive("weight_std", self.weight_std)

    def all(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"]
    ) -> MixturePass:
        """Return predictions, posterior, both parts and their likelihoods.

        Args:
            xs: Inputs, or their features.
            ys: Labels; the last of each prompt is used by nothing.

        Raises:
            UserError: Shapes that do not fit.
        """
        # Both parts must take the labels for equally noisy, or their likelihoods do not compare.
        scale = max(self.weight_std, weight_size(self.weights))
        noise_std = noise_floor(self.noise_std, scale, ys.dtype)
        ridge = RidgeEstimator(noise_std, self.weight_std).all(xs, ys)
        discrete = DiscreteEstimator(self.weights, noise_std).all(xs, ys)
        log_odds = _logit(self.alpha) + discrete.log_likelihood - ridge.log_likelihood
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

    def __call__(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"], /
    ) -> Float[Tensor, "batch points"]:
        """Predict each y from the exemplars before it."""
        return self.all(xs, ys).predictions


def _logit(share: float) -> float:
    """Return log(p/(1 − p)), infinite at 0 and 1."""
    if share in (0.0, 1.0):
        return math.copysign(math.inf, share - 0.5)
    return math.log(share) - math.log1p(-share)
