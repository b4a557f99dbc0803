r"""Ridge, the Bayes predictor for Gaussian tasks, and least squares; every prefix in one pass.

With one exemplar (x, y) more, the posterior N(w, P) of the weights, P = S Sᵀ, is updated by

.. math::
   s = x^\top P x + σ^2, \quad
   w ← w + P x \, (y - ⟨w, x⟩)/s, \quad
   P ← P - P x \, x^\top P / s

or, of its square root,

.. math::
   φ = S^\top x, \quad s = ‖φ‖^2 + σ^2, \quad
   S ← S - S φ \, φ^\top / (s + σ\sqrt{s}),

and :math:`N(y; ⟨w, x⟩, s)` is the next factor of the prompt's likelihood. To update P is
the faster way. It loses its sign to rounding once σ is small; then S is updated: ``S Sᵀ`` cannot.

Source: Potter (1963), in Bierman, *Factorization Methods for Discrete Sequential Estimation*
(1977), Section II.6.

Least squares is a contrast that knows no prior. Fewer exemplars than dimensions leave many exact
fits; the smallest weights are taken, as by the pseudo-inverse. A new x is split into what the
earlier ones span and the rest c. If c is not zero, Greville's step fits the new exemplar exactly,
along b = c/‖c‖²; else the recursive least-squares step is Potter's with σ = 1. Both keep a root G
of the inverse Gram matrix, :math:`(X^\top X)^+ = G G^\top`:

.. math::
   w ← w + b (y - ⟨w, x⟩), \qquad G ← (I - b x^\top) G + b e_r^\top

Source: Greville, SIAM Review 2 (1960), 15–22.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.lab.checks import check_not_negative, check_positive
from palimpsest.lab.predictors.predictor import check_prompts

_BLOCK = 1 << 17
"""Numbers in the matrices updated at one time: a megabyte, which stays in the cache."""

_WORST_CONDITION = 1e5
"""Of the labels' covariance. Updates of P lose as many digits as it has: eleven are left."""

_ROUNDINGS = 16
"""Labels without noise are still rounded; so many units of their last place count as noise."""

_SPANNED = 1e-10
"""A new x counts as spanned if less than this share of its length is left. Prompts in float32 that
repeat an x do so exactly; independent ones come this near with probability of about 1e-10."""


class Pass(NamedTuple):
    """Predictions at every position, and how likely the labels before it are, in float64."""

    predictions: Float[Tensor, "batch points"]
    log_likelihood: Float[Tensor, "batch points"]
    """Of the labels before the position, given their inputs; zero at the first."""


@dataclass(frozen=True)
class RidgeEstimator:
    r"""The Bayes predictor on ``D_cont``, for w ~ N(0, τ² I).

    .. math::
       \hat w_k = (X_k^\top X_k + (σ²/τ²) I)^{-1} X_k^\top y_k, \qquad
       \log p = \log N(y_k; 0, τ² X_k X_k^\top + σ² I)

    The first prediction is the prior mean, zero. Without noise, the limit σ → 0 is taken: the
    smallest weights that fit, and a noise as large as the rounding of the labels' own type.

    Raises:
        UserError: σ < 0 or τ ≤ 0.

    Example:
        >>> xs, ys = torch.ones(1, 3, 1), torch.tensor([[1.0, 3.0, 0.0]])
        >>> RidgeEstimator(noise_std=1.0)(xs, ys)  # 0, 1/2, 4/3
        tensor([[0.0000, 0.5000, 1.3333]], dtype=torch.float64)
    """

    noise_std: float
    """σ."""
    weight_std: float = 1.0
    """τ."""

    def __post_init__(self) -> None:
        check_not_negative("noise_std", self.noise_std)
        check_positive("weight_std", self.weight_std)

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
        check_prompts(xs, ys)
        noise_std = noise_floor(self.noise_std, self.weight_std, ys.dtype)
        n_blocks = max(1, math.ceil(len(xs) * xs.shape[2] ** 2 / _BLOCK))
        blocks = zip(xs.tensor_split(n_blocks), ys.tensor_split(n_blocks), strict=True)
        return joined(_block_pass(*block, noise_std, self.weight_std) for block in blocks)

    def __call__(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"], /
    ) -> Float[Tensor, "batch points"]:
        """Predict each y from the exemplars before it."""
        return self.all(xs, ys).predictions


@dataclass(frozen=True)
class OrdinaryLeastSquares:
    r"""Least squares without a prior: the weights :math:`X_k^+ y_k` of the exemplars so far.

    The first prediction is zero. Around k = d the prediction error has no finite mean.

    Example:
        >>> xs, ys = torch.ones(1, 3, 1), torch.tensor([[1.0, 3.0, 0.0]])
        >>> OrdinaryLeastSquares()(xs, ys)
        tensor([[0., 1., 2.]], dtype=torch.float64)
    """

    def __call__(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"], /
    ) -> Float[Tensor, "batch points"]:
        """Predict each y from the exemplars before it.

        Raises:
            UserError: Shapes that do not fit.
        """
        check_prompts(xs, ys)
        xs, ys = xs.to(torch.float64), ys.to(torch.float64)
        n_prompts, n_points, n_dims = xs.shape
        predictions = torch.zeros_like(ys)
        weights = xs.new_zeros(n_prompts, n_dims)
        root = xs.new_zeros(n_prompts, n_dims, n_dims)  # G
        outside = torch.eye(n_dims).to(xs).repeat(n_prompts, 1, 1)  # projector on the unspanned
        rank = torch.zeros(n_prompts, dtype=torch.long, device=xs.device)
        for k in range(n_points):
            x = xs[:, k]
            predictions[:, k] = (weights * x).sum(-1)
            rest = _times(outside, _times(outside, x))  # twice: the second removes rounding
            size = rest.square().sum(-1)
            is_new = (size > _SPANNED**2 * x.square().sum(-1)) & (rank < n_dims)
            direction = torch.where(is_new, 1 / size.where(is_new, 1.0), 0.0)[:, None] * rest  # b
            seen = _times(root.mT, x)  # φ
            variance = 1 + seen.square().sum(-1)
            gain = _times(root, seen)
            step = torch.where(is_new[:, None], direction, gain / variance[:, None])
            weights = weights + step * (ys[:, k] - predictions[:, k])[:, None]
            old = root - _outer(gain, seen / (variance + variance.sqrt())[:, None])
            slot = torch.nn.functional.one_hot(rank.clamp(max=n_dims - 1), n_dims).to(xs)
            new = root + _outer(direction, slot - seen)
            root = torch.where(is_new[:, None, None], new, old)
            outside = outside - _outer(direction, rest)
            rank = rank + is_new
        return predictions


def joined(parts: Iterable[tuple[Tensor, Tensor]]) -> Pass:
    """Return one pass, prompts first, from those over parts of a batch, points first."""
    return Pass(*(torch.cat(found, 1).T.contiguous() for found in zip(*parts, strict=True)))


def noise_floor(noise_std: float, scale: float, dtype: torch.dtype) -> float:
    """Return σ, or the rounding of labels of a type where that is more.

    Args:
        noise_std: σ.
        scale: The size of the weights.
        dtype: Of the labels.

    Example:
        >>> noise_floor(0.5, 1.0, torch.float32)
        0.5
        >>> 1e-6 < noise_floor(0.0, 1.0, torch.float32) < 3e-6
        True
    """
    return max(noise_std, _ROUNDINGS * torch.finfo(dtype).eps * scale)


def _block_pass(xs: Tensor, ys: Tensor, noise_std: float, weight_std: float) -> Pass:
    """Return predictions and log-likelihoods, (points, prompts), prompts innermost throughout."""
    xs, ys = xs.double(), ys.double()
    signal = weight_std * torch.linalg.vector_norm(xs.flatten(1), dim=1)
    is_easy = bool((signal < math.sqrt(_WORST_CONDITION) * noise_std).all())
    update = _update_covariance if is_easy else _update_root
    xs, ys = xs.permute(1, 2, 0).contiguous(), ys.T.contiguous()
    n_dims, n_prompts = xs.shape[1:]
    # P or S, and w as one column more.
    state = xs.new_zeros(n_dims, n_dims + 1, n_prompts)
    state.diagonal().fill_(weight_std**2 if is_easy else weight_std)
    products = torch.empty_like(state)  # used again at every step: no new memory is asked for
    predictions, variances = torch.zeros_like(ys), torch.ones_like(ys)
    for k, (x, y) in enumerate(zip(xs[:-1], ys[:-1], strict=True)):
        predictions[k], variances[k] = update(state, x, y, noise_std, products)
    predictions[-1] = (state[:, -1] * xs[-1]).sum(0)
    surprises = (2 * math.pi * variances).log() + (ys - predictions).square() / variances
    likelihoods = torch.zeros_like(ys)
    likelihoods[1:] = -0.5 * surprises[:-1].cumsum(0)
    return Pass(predictions, likelihoods)


def _update_covariance(
    state: Tensor, x: Tensor, y: Tensor, noise_std: float, products: Tensor
) -> tuple[Tensor, Tensor]:
    """Take in one exemplar of each prompt, given P; return its prediction and its variance."""
    seen = torch.mul(state, x[:, None], out=products).sum(0)
    gain, prediction = seen[:-1], seen[-1].clone()  # P x, ⟨w, x⟩
    variance = (gain * x).sum(0) + noise_std**2
    seen[-1] -= y
    state.addcmul_(gain[:, None], seen / variance, value=-1)
    return prediction, variance


def _update_root(
    state: Tensor, x: Tensor, y: Tensor, noise_std: float, products: Tensor
) -> tuple[Tensor, Tensor]:
    """Take in one exemplar of each prompt, given S; return its prediction and its variance."""
    seen = torch.mul(state, x[:, None], out=products).sum(0)
    root, prediction = seen[:-1], seen[-1].clone()  # φ, ⟨w, x⟩
    variance = root.square().sum(0) + noise_std**2
    gain = torch.mul(state[:, :-1], root, out=products[:, :-1]).sum(1)  # S φ
    root /= variance + noise_std * variance.sqrt()
    seen[-1] = (prediction - y) / variance
    state.addcmul_(gain[:, None], seen, value=-1)
    return prediction, variance


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None]).squeeze(-1)


def _outer(left: Tensor, right: Tensor) -> Tensor:
    return left[..., :, None] * right[..., None, :]
