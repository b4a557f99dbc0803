"""Muon with its arithmetic in float32, all matrices of a shape at once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Muon):
    """Momentum of matrices, orthogonalised (Jordan et al., 2024); settings and state are torch's.

    The rate of a matrix is scaled by the root of max(1, rows / columns), torch's ``original``.
    torch's own orthogonalises one matrix after the other, in bfloat16. A processor without units
    for that takes four times as long, and at the sizes of the laboratory more than a quarter of
    a step. Updates differ from torch's by what bfloat16 rounds.

    Example:
        >>> weight = torch.nn.Parameter(torch.eye(2))
        >>> weight.grad = 3 * torch.eye(2)
        >>> Muon([weight], lr=1.0, weight_decay=0.0).step()
        >>> bool(weight.diag().abs().max() < 0.5)
        True
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; matrices without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape[weight.shape].append(weight)
            for weights in by_shape.values():
                self._step_alike(weights, group)
        return loss

    def _step_alike(self, weights: Sequence[Tensor], group: dict[str, Any]) -> None:
        """Update matrices of one shape."""
        momentum, rate = group["momentum"], float(group["lr"])
        directions = []
        for weight in weights:
            gradient, state = weight.grad, self.state[weight]
            assert gradient is not None
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(weight)
            kept = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
            directions.append(gradient.lerp(kept, momentum) if group["nesterov"] else kept)
        updates = orthogonalised(
            torch.stack(directions), group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        n_rows, n_columns = weights[0].shape
        for weight, update in zip(weights, updates, strict=True):
            weight.mul_(1 - rate * group["weight_decay"])
            weight.add_(update, alpha=-rate * math.sqrt(max(1.0, n_rows / n_columns)))


def orthogonalised(
    matrices: Tensor, coefficients: tuple[float, float, float], n_steps: int, eps: float
) -> Tensor:
    """Bring the singular values of matrices near 1, by a quintic Newton-Schulz iteration.

    Args:
        matrices: [number, rows, columns], in float32.
        coefficients: a, b and c of a·σ + b·σ³ + c·σ⁵.
        n_steps: Iterations.
        eps: What the norm of a matrix is at least taken for.

    Returns:
        [number, rows, columns].
    """
    a, b, c = coefficients
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    found = matrices.mT if is_tall else matrices
    found = found / found.norm(dim=(-2, -1), keepdim=True).clamp(min=eps)
    for _ in range(n_steps):
        gram = found @ found.mT
        change = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        found = torch.baddbmm(found, change, found, beta=a)
    return found.mT if is_tall else found
