"""Low-rank changes of a model's matrices, with everything else left as it is."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    r"""Adds a product of two factors to a matrix: :math:`W + s B A`.

    A is drawn, B starts at zero: so does the change.

    Source: Hu et al., 2021 (arXiv 2106.09685).

    Args:
        n_outputs: Rows of W.
        n_inputs: Columns of W.
        rank: Columns of B and rows of A.
        scale: s.
        generator: Draws A.
    """

    def __init__(
        self, n_outputs: int, n_inputs: int, *, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        drawn = torch.randn(rank, n_inputs, generator=generator) * n_inputs**-0.5
        self.inner = nn.Parameter(drawn)  # A
        self.outer = nn.Parameter(torch.zeros(n_outputs, rank))  # B
        self.scale = scale

    def forward(self, weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
        """Return the changed matrix."""
        return torch.addmm(weight, self.outer, self.inner, alpha=self.scale)


def add_lora(model: nn.Module, *, rank: int, scale: float, generator: torch.Generator) -> None:
    """Give every matrix of the model's blocks a low-rank change, and freeze all other weights.

    Example:
        >>> from palimpsest.lab.predictors.transformer import TransformerConfig, new_transformer
        >>> config = TransformerConfig(n_dims=2, n_points=5, width=8, n_layers=1, n_heads=2)
        >>> model = new_transformer(config, seed=0)
        >>> add_lora(model, rank=2, scale=2.0, generator=torch.Generator())
        >>> len([weight for weight in model.parameters() if weight.requires_grad])
        8
    """
    model.requires_grad_(False)
    for linear in block_linears(model):
        n_outputs, n_inputs = linear.weight.shape
        change = LowRank(n_outputs, n_inputs, rank=rank, scale=scale, generator=generator)
        # The matrix itself is not looked at: `unsafe` spares a trial run.
        parametrize.register_parametrization(
            linear, "weight", change.to(linear.weight), unsafe=True
        )


def merge_lora(model: nn.Module) -> None:
    """Add the low-rank changes to the matrices; every weight can be trained again."""
    for linear in block_linears(model):
        if parametrize.is_parametrized(linear, "weight"):
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)
    model.requires_grad_(True)


def block_linears(model: nn.Module) -> list[nn.Linear]:
    """Return the linear layers of the blocks, in the model's order."""
    named = model.named_modules()
    return [m for name, m in named if name.startswith("blocks.") and isinstance(m, nn.Linear)]
