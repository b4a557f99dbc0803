r"""The Bayes predictor for Gaussian tasks at every prefix, in one pass.

With one exemplar (x, y) more, and the posterior N(w, S Sᵀ) of the weights, Potter's update of the
square root S is

.. math::
   φ = S^\top x, \quad s = ‖φ‖^2 + σ^2, \quad
   w ← w + S φ \, (y - ⟨w, x⟩)/s, \quad
   S ← S - S φ \, φ^\top / (s + σ\sqrt{s})

and :math:`N(y; ⟨w, x⟩, s)` is the next factor of the prompt's likelihood. A covariance updated
without its square root loses its sign to rounding once σ is small; ``S Sᵀ`` cannot.

Source: Potter (1963), in Bierman, *Factorization Methods for Discrete Sequential Estimation*
(1977), Section II.6.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.lab.cores import map_on_cores
from palimpsest.lab.limits import check_std
from palimpsest.lab.predictors import check_prompts

_BLOCK = 1 << 16
"""Numbers in the square roots updated at one time: half a megabyte, which stays in the cache."""

_FEW = 128
"""Fewer prompts than this are not worth a core of their own."""

_ROUNDINGS = 16
"""Labels without noise are still rounded; so many units of their last place count as noise."""


class Pass(NamedTuple):
    """What one pass over the prompts gives at every position, in float64."""

    predictions: Float[Tensor, "batch points"]
    log_likelihood: Float[Tensor, "batch points"]
    """Of the labels before the position, given their inputs; zero at the first."""


def ridge_pass(
    xs: Float[Tensor, "batch points dims"],
    ys: Float[Tensor, "batch points"],
    *,
    noise_std: float,
    weight_std: float = 1.0,
) -> Pass:
    r"""Predict each y from the exemplars before it, for w ~ N(0, τ² I).

    .. math::
       \hat w_k = (X_k^\top X_k + (σ²/τ²) I)^{-1} X_k^\top y_k, \qquad
       \log p = \log N(y_k; 0, τ² X_k X_k^\top + σ² I)

    The first prediction is the prior mean, zero. Without noise, the limit σ → 0 is taken: the
    smallest weights that fit, and a noise as large as the rounding of the labels' own type.

    Args:
        xs: Inputs, or their features.
        ys: Labels; the last of each prompt is used by nothing.
        noise_std: σ.
        weight_std: τ.

    Raises:
        UserError: Shapes that do not fit, σ < 0, or τ ≤ 0.

    Example:
        >>> xs, ys = torch.ones(1, 3, 1), torch.tensor([[1.0, 3.0, 0.0]])
        >>> ridge_pass(xs, ys, noise_std=1.0).predictions  # 0, 1/2, 4/3
        tensor([[0.0000, 0.5000, 1.3333]], dtype=torch.float64)
    """
    check_prompts(xs, ys)
    check_std("weight_std", weight_std, zero_allowed=False)
    noise_std = noise_floor(noise_std, weight_std, ys.dtype)
    n_prompts = max(1, _BLOCK // xs.shape[2] ** 2)
    blocks = map_on_cores(
        lambda block: _update_through(*block, noise_std, weight_std),
        _blocks(xs, ys, math.ceil(len(xs) / n_prompts)),
    )
    return Pass(*(torch.cat(parts, dim=1).T.contiguous() for parts in zip(*blocks, strict=True)))


def noise_floor(noise_std: float, scale: float, dtype: torch.dtype) -> float:
    """Return σ, or the rounding of labels of a type where that is more.

    Args:
        noise_std: σ.
        scale: The size of the weights.
        dtype: Of the labels.

    Raises:
        UserError: σ is negative or no finite number.

    Example:
        >>> noise_floor(0.5, 1.0, torch.float32)
        0.5
        >>> 1e-6 < noise_floor(0.0, 1.0, torch.float32) < 3e-6
        True
    """
    check_std("noise_std", noise_std, zero_allowed=True)
    return max(noise_std, _ROUNDINGS * torch.finfo(dtype).eps * scale)


def _blocks(xs: Tensor, ys: Tensor, n: int) -> list[tuple[Tensor, Tensor]]:
    """Return n blocks or one for each core, whichever is more, of nearly the same size.

    Returns:
        Inputs (points, dims, prompts) and labels (points, prompts) of each, in float64.
    """
    n = max(1, n, min(torch.get_num_threads(), len(xs) // _FEW))
    return [
        (
            some_xs.to(torch.float64).permute(1, 2, 0).contiguous(),
            some_ys.to(torch.float64).T.contiguous(),
        )
        for some_xs, some_ys in zip(xs.tensor_split(n), ys.tensor_split(n), strict=True)
    ]


def _update_through(
    xs: Tensor, ys: Tensor, noise_std: float, weight_std: float
) -> tuple[Tensor, Tensor]:
    """Return predictions and log-likelihoods, (points, prompts), prompts innermost throughout."""
    n_points, n_dims, n_prompts = xs.shape
    weights = xs.new_zeros(n_dims, n_prompts)
    root = (weight_std * torch.eye(n_dims).to(xs))[:, :, None].repeat(1, 1, n_prompts)
    products = torch.empty_like(root)  # used again at every step: no new memory is asked for
    predictions, variances = torch.zeros_like(ys), torch.ones_like(ys)
    for k in range(n_points - 1):
        x = xs[k]
        predictions[k] = (weights * x).sum(0)
        seen = torch.mul(root, x[:, None], out=products).sum(0)  # φ
        variance = torch.add((seen * seen).sum(0), noise_std**2, out=variances[k])  # s
        gain = torch.mul(root, seen, out=products).sum(1)  # S φ
        weights.addcmul_(gain, (ys[k] - predictions[k]) / variance)
        shrink = seen / torch.add(variance, variance.sqrt(), alpha=noise_std)
        root.addcmul_(gain[:, None], shrink[None], value=-1)
    predictions[-1] = (weights * xs[-1]).sum(0)
    surprises = (2 * math.pi * variances).log() + (ys - predictions).square() / variances
    likelihoods = torch.zeros_like(ys)
    likelihoods[1:] = -0.5 * surprises[:-1].cumsum(0)
    return predictions, likelihoods
