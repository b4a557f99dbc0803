r"""Ordinary least squares at every prefix, in one pass: a contrast that knows no prior.

Fewer exemplars than dimensions leave many exact fits; the smallest weights are taken, as by the
pseudo-inverse. A new x is split into what the earlier ones span and the rest c. If c is not zero,
Greville's step fits the new exemplar exactly, along b = c/‖c‖²; else the recursive
least-squares step is Potter's (:mod:`palimpsest.lab.predictors.ridge`) with σ = 1. Both keep a
root G of the inverse Gram matrix, :math:`(X^\top X)^+ = G G^\top`:

.. math::
   w ← w + b (y - ⟨w, x⟩), \qquad G ← (I - b x^\top) G + b e_r^\top

Source: Greville, SIAM Review 2 (1960), 15–22.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.lab.predictors.predictor import check_prompts

_SPANNED = 1e-10
"""A new x counts as spanned if less than this share of its length is left. Prompts in float32 that
repeat an x do so exactly; independent ones come this near with probability of about 1e-10."""


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


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None]).squeeze(-1)


def _outer(left: Tensor, right: Tensor) -> Tensor:
    return left[..., :, None] * right[..., None, :]
