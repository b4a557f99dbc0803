"""The fast transformer: one token a step, and few operations a token."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from palimpsest.lab.predictors.transformer import Transformer, TransformerConfig

_SHARPNESS = 2.25
"""Queries and keys have entries of size one; on this depends how pointed attention can be."""


class FastTransformer(Transformer):
    r"""One token a step, a question and the last exemplar; RMSNorm without gain, no biases.

    .. math:: t_k = W (x_k, x_{k-1}, y_{k-1}) + p_k

    so that the sequence is half as long as with separate tokens for x and y, and no layer is
    spent on bringing the x and the y of an exemplar together. Positions :math:`p_k` are learned:
    the number of exemplars matters, their order does not. Queries and keys are normalised too
    (Henry et al., 2020, arXiv 2010.04245). The last layer's output is normalised and read by one
    vector.

    Args:
        config: The sizes.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.read_in = nn.Linear(2 * config.n_dims + 1, config.width, bias=False)
        self.positions = nn.Parameter(torch.zeros(config.n_points, config.width))
        self.blocks = nn.ModuleList(FastBlock(config) for _ in range(config.n_layers))
        self.read_out = nn.Linear(config.width, 1, bias=False)

    def predict(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"]
    ) -> Float[Tensor, "batch points"]:
        """Predict prompts that fit."""
        exemplars = torch.cat((xs, ys[..., None]), -1)  # batch, points, dims + 1
        exemplars = functional.pad(exemplars[:, :-1], (0, 0, 1, 0))  # each one step later
        states = self.read_in(torch.cat((xs, exemplars), -1)) + self.positions[: xs.shape[1]]
        for block in self.blocks:
            states = block(states)
        predictions: Tensor = self.read_out(_normed(states)).squeeze(-1)
        return predictions

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew; what a block adds, and the answer, start at zero."""
        for weight in self.parameters():
            nn.init.normal_(weight, std=weight.shape[-1] ** -0.5, generator=generator)
        for block in self.blocks:
            assert isinstance(block, FastBlock)
            nn.init.zeros_(block.mix.weight)
            nn.init.zeros_(block.down.weight)
        nn.init.zeros_(self.positions)
        nn.init.zeros_(self.read_out.weight)


class FastBlock(nn.Module):
    """Causal attention, then two layers at each point; each adds to the residual stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.n_heads = config.n_heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, states: Float[Tensor, "batch points width"]) -> Tensor:
        """Return the stream after this block."""
        query, key, value = (
            part.unflatten(-1, (self.n_heads, -1))  # batch, points, heads, head width
            for part in self.query_key_value(_normed(states)).chunk(3, -1)
        )
        attended = functional.scaled_dot_product_attention(
            _normed(query).transpose(1, 2),
            _normed(key).transpose(1, 2),
            value.transpose(1, 2),
            is_causal=True,
            scale=_SHARPNESS * query.shape[-1] ** -0.5,
        )
        states = states + self.mix(attended.transpose(1, 2).flatten(2))
        inner = functional.gelu(self.up(_normed(states)))
        added: Tensor = states + self.down(inner)
        return added


def _normed(states: Tensor) -> Tensor:
    return functional.rms_norm(states, states.shape[-1:])
