"""Tuning of the value matrices alone.

Where a model looks, by its queries and keys, and what it makes of it, in its other layers, stay as
they were. In linear attention this learns a new task and keeps in-context learning: Lee, Sohn and
Lee, 2026 (arXiv 2602.23197).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from palimpsest.errors import UserError
from palimpsest.lab.checks import check_count
from palimpsest.lab.predictors import Transformer
from palimpsest.lab.training.remedies import Remedy, Tuning


@dataclass(frozen=True)
class ValueMatrices(Remedy):
    """Nothing is trained but the value matrices of the last blocks.

    Raises:
        UserError: No blocks, or more than the model has.
    """

    n_blocks: int

    def __post_init__(self) -> None:
        check_count("value_matrices", self.n_blocks)

    def begin(self, tuning: Tuning) -> None:
        """Freeze everything else."""
        projections = _projections(tuning.model)
        if self.n_blocks > len(projections):
            raise UserError(
                f"value_matrices is {self.n_blocks}, but the model has {len(projections)} blocks.",
                hint="Give how many of the last blocks are trained, or a model of more layers.",
            )
        tuning.model.requires_grad_(False)
        for linear in projections[-self.n_blocks :]:
            parametrize.register_parametrization(linear, "weight", ValueRows(linear.weight))
            for values in linear.parameters():
                values.requires_grad_(values is not linear.bias)

    def end(self, base: Transformer, tuned: Transformer) -> Transformer:
        """Put queries, keys and values together; every weight can be trained again."""
        for linear in _projections(tuned):
            if parametrize.is_parametrized(linear, "weight"):
                parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)
        return tuned.requires_grad_(True)


class ValueRows(nn.Module):
    """The last third of the rows of a matrix is trained, the others are held.

    Args:
        weight: Queries, keys and values, one below the other.
    """

    def __init__(self, weight: Float[Tensor, "rows columns"]) -> None:
        super().__init__()
        self.held: Tensor
        self.register_buffer("held", weight.detach()[: 2 * (len(weight) // 3)].clone())

    def forward(self, values: Float[Tensor, "values columns"]) -> Float[Tensor, "rows columns"]:
        """Return the whole matrix."""
        return torch.cat((self.held, values))

    def right_inverse(
        self, weight: Float[Tensor, "rows columns"]
    ) -> Float[Tensor, "values columns"]:
        """Return the rows that are trained."""
        return weight[len(self.held) :].clone()


def _projections(model: nn.Module) -> list[nn.Linear]:
    """Return the layers that give queries, keys and values, in the model's order."""
    named = model.named_modules()
    return [m for name, m in named if name.endswith("query_key_value") and isinstance(m, nn.Linear)]
