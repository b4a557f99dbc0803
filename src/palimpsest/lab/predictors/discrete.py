r"""The Bayes predictor for a fixed set of tasks at every prefix, in one pass over the set.

The log-likelihood of a task is a running sum over exemplars, and the prediction a mean of the
tasks' own predictions ⟨w_j, x⟩ weighted by it:

.. math::
   \hat y_k = \sum_j p_{jk} ⟨w_j, x_k⟩, \qquad
   p_{jk} = \operatorname{softmax}_j \Big( -\sum_{i<k} (y_i - ⟨w_j, x_i⟩)^2 / 2σ² \Big)

The set is walked through in chunks; the sums over it are kept relative to the largest term so far
(streamed log-sum-exp), so a million tasks need no more memory than a hundred.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.checks import check_not_negative
from palimpsest.lab.predictors.predictor import check_prompts
from palimpsest.lab.predictors.ridge import Pass, joined, noise_floor

_CHUNK = 1 << 16
"""Prompts times tasks held at one time: half a megabyte for each of a handful of arrays."""
_N_PROMPTS = 1024


@dataclass(frozen=True, eq=False)
class DiscreteEstimator:
    r"""The Bayes predictor on ``D_disc``, for w uniform over a set.

    .. math:: \log p = \log \frac1n \sum_j N(y_k; X_k w_j, σ² I)

    The first prediction is that of the mean task. Without noise, the limit σ → 0 is taken: the task
    that fits best, with a noise as large as the rounding of the labels' own type.

    Raises:
        UserError: σ < 0, or no tasks.

    Example:
        >>> xs, ys = torch.ones(1, 2, 1), torch.zeros(1, 2)
        >>> DiscreteEstimator(torch.tensor([[0.0], [2.0]]), noise_std=1.0)(xs, ys)
        tensor([[1.0000, 0.2384]], dtype=torch.float64)
    """

    weights: Float[Tensor, "tasks dims"]
    """The tasks, one a row."""
    noise_std: float
    """σ."""

    def __post_init__(self) -> None:
        check_not_negative("noise_std", self.noise_std)
        if self.weights.ndim != 2 or not len(self.weights):
            raise UserError(
                f"A set of tasks needs a task a row; got the shape {tuple(self.weights.shape)}."
            )

    def all(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"]
    ) -> Pass:
        """Return predictions and likelihoods.

        Args:
            xs: Inputs, or their features.
            ys: Labels; the last of each prompt is used by nothing.

        Raises:
            UserError: Shapes that do not fit.
        """
        check_prompts(xs, ys, n_dims=self.weights.shape[1])
        table = self.weights.to(xs.device, torch.float64)
        noise_std = noise_floor(self.noise_std, weight_size(table), ys.dtype)
        blocks = zip(xs.split(_N_PROMPTS), ys.split(_N_PROMPTS), strict=True)
        return joined(
            _walk(
                x.double().transpose(0, 1).contiguous(), y.double().T.contiguous(), table, noise_std
            )
            for x, y in blocks
        )

    def __call__(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"], /
    ) -> Float[Tensor, "batch points"]:
        """Predict each y from the exemplars before it."""
        return self.all(xs, ys).predictions


def weight_size(weights: Float[Tensor, "tasks dims"]) -> float:
    """Return the root mean square of all weights, or 1 if all are zero."""
    size = float(torch.linalg.vector_norm(weights, dtype=torch.float64))
    return size / math.sqrt(weights.numel()) or 1.0


def _walk(xs: Tensor, ys: Tensor, weights: Tensor, noise_std: float) -> tuple[Tensor, Tensor]:
    """Return predictions and log-likelihoods, (points, prompts).

    Args:
        xs: (points, prompts, dims).
        ys: (points, prompts).
        weights: (tasks, dims).
        noise_std: σ, more than zero.
    """
    n_points, n_prompts = ys.shape
    largest = torch.full_like(ys, -math.inf)
    total, weighted = torch.zeros_like(ys), torch.zeros_like(ys)
    # In units of σ√2, the squared residual is what the log-likelihood falls by.
    unit = 1 / (noise_std * math.sqrt(2))
    scaled_xs, scaled_ys = xs * unit, ys * unit
    n_tasks = max(1, _CHUNK // max(1, n_prompts))
    for chunk in weights.split(n_tasks):
        logs = xs.new_zeros(n_prompts, len(chunk))
        for k in range(n_points):
            forecast = scaled_xs[k] @ chunk.T  # (prompts, tasks)
            top = torch.maximum(largest[k], logs.amax(1))
            shares = (logs - top[:, None]).exp_()
            shrink = (largest[k] - top).exp_()
            total[k] = total[k] * shrink + shares.sum(1)
            weighted[k] = weighted[k] * shrink + (shares * forecast).sum(1)
            largest[k] = top
            if k + 1 < n_points:
                logs -= forecast.sub_(scaled_ys[k][:, None]).square_()
    counts = torch.arange(n_points, device=ys.device, dtype=ys.dtype)[:, None]
    constant = math.log(len(weights)) + counts * math.log(noise_std * math.sqrt(2 * math.pi))
    return weighted / total / unit, largest + total.log() - constant
