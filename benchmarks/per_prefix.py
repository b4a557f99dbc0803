"""The exact predictors as they are usually computed: anew for every prefix."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def ridge(xs: Tensor, ys: Tensor, noise_std: float, weight_std: float) -> Tensor:
    """Solve the normal equations of all prompts together, once a prefix."""
    predictions = torch.zeros_like(ys)
    penalty = (noise_std / weight_std) ** 2 * torch.eye(xs.shape[2], dtype=xs.dtype)
    for k in range(1, ys.shape[1]):
        x, y = xs[:, :k], ys[:, :k, None]
        weights = torch.linalg.solve(x.mT @ x + penalty, x.mT @ y)
        predictions[:, k] = (xs[:, k, None] @ weights)[:, 0, 0]
    return predictions


def discrete(xs: Tensor, ys: Tensor, weights: Tensor, noise_std: float) -> tuple[Tensor, Tensor]:
    """Weigh all tasks by their likelihood, once a prefix; also return the prompts' likelihood."""
    predictions, likelihoods = torch.zeros_like(ys), torch.zeros_like(ys)
    for k in range(ys.shape[1]):
        residuals = ys[:, :k, None] - xs[:, :k] @ weights.T
        logs = -residuals.square().sum(1) / (2 * noise_std**2)
        predictions[:, k] = (xs[:, k] * (logs.softmax(-1) @ weights)).sum(-1)
        likelihoods[:, k] = logs.logsumexp(-1) - k * math.log(noise_std * math.sqrt(2 * math.pi))
    return predictions, likelihoods - math.log(len(weights))


def log_likelihood(xs: Tensor, ys: Tensor, noise_std: float, weight_std: float) -> Tensor:
    """Factorise the labels' covariance, once a prefix."""
    likelihoods = torch.zeros_like(ys)
    for k in range(1, ys.shape[1]):
        x, y = xs[:, :k], ys[:, :k, None]
        covariance = weight_std**2 * x @ x.mT + noise_std**2 * torch.eye(k, dtype=xs.dtype)
        root = torch.linalg.cholesky(covariance)
        white = torch.linalg.solve_triangular(root, y, upper=False)
        logs = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        likelihoods[:, k] = -white.square().sum((1, 2)) / 2 - logs - k * math.log(2 * math.pi) / 2
    return likelihoods


def mixture(
    xs: Tensor, ys: Tensor, alpha: float, weights: Tensor, noise_std: float, weight_std: float
) -> Tensor:
    """Mix both predictions by the posterior of their parts."""
    ridged = ridge(xs, ys, noise_std, weight_std)
    chosen, log_disc = discrete(xs, ys, weights, noise_std)
    log_cont = log_likelihood(xs, ys, noise_std, weight_std)
    g = torch.sigmoid(math.log(alpha / (1 - alpha)) + log_disc - log_cont)
    return g * chosen + (1 - g) * ridged
