"""The exact predictors written down once more, prefix by prefix, as the formulas say."""

import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal


def ridge(xs: Tensor, ys: Tensor, noise_std: float, weight_std: float) -> Tensor:
    """One batched solve of the normal equations a prefix."""
    predictions = torch.zeros_like(ys)
    penalty = (noise_std / weight_std) ** 2 * torch.eye(xs.shape[2]).to(xs)
    for k in range(1, ys.shape[1]):
        x, y = xs[:, :k], ys[:, :k, None]
        weights = torch.linalg.solve(x.mT @ x + penalty, x.mT @ y)
        predictions[:, k] = (xs[:, k, None] @ weights)[:, 0, 0]
    return predictions


def log_likelihood_continuous(
    xs: Tensor, ys: Tensor, noise_std: float, weight_std: float
) -> Tensor:
    """One multivariate normal density a prefix."""
    found = torch.zeros_like(ys)
    for k in range(1, ys.shape[1]):
        x = xs[:, :k]
        covariance = weight_std**2 * x @ x.mT + noise_std**2 * torch.eye(k).to(xs)
        found[:, k] = MultivariateNormal(torch.zeros(k).to(xs), covariance).log_prob(ys[:, :k])
    return found


def _log_likelihoods(xs: Tensor, ys: Tensor, weights: Tensor, noise_std: float, k: int) -> Tensor:
    residuals = ys[:, :k, None] - xs[:, :k] @ weights.T
    constant = math.log(noise_std) + math.log(2 * math.pi) / 2
    return -((residuals / noise_std).square() / 2 + constant).sum(1)


def discrete(xs: Tensor, ys: Tensor, weights: Tensor, noise_std: float) -> Tensor:
    """One softmax over the tasks a prefix."""
    predictions = torch.zeros_like(ys)
    for k in range(ys.shape[1]):
        shares = _log_likelihoods(xs, ys, weights, noise_std, k).softmax(-1)
        predictions[:, k] = (xs[:, k] * (shares @ weights)).sum(-1)
    return predictions


def log_likelihood_discrete(xs: Tensor, ys: Tensor, weights: Tensor, noise_std: float) -> Tensor:
    """One mean over the tasks a prefix."""
    found = torch.zeros_like(ys)
    for k in range(ys.shape[1]):
        found[:, k] = _log_likelihoods(xs, ys, weights, noise_std, k).exp().mean(-1).log()
    return found


def least_squares(xs: Tensor, ys: Tensor) -> Tensor:
    """One pseudo-inverse a prefix."""
    predictions = torch.zeros_like(ys)
    for k in range(1, ys.shape[1]):
        weights = torch.linalg.pinv(xs[:, :k]) @ ys[:, :k, None]
        predictions[:, k] = (xs[:, k, None] @ weights)[:, 0, 0]
    return predictions
