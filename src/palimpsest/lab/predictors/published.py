"""The transformer of the paper: GPT-2's blocks over separate tokens for x and y."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from palimpsest.lab.predictors.transformer import Transformer, TransformerConfig

_STD = 0.02  # GPT-2's


class PublishedTransformer(Transformer):
    r"""GPT-2 without an embedding table, with separate tokens for x and y.

    .. math:: x_1, y_1, x_2, y_2, …, x_n

    A y is a vector :math:`(y, 0, …, 0)` of the length of x; one affine map reads both. The
    prediction of y is read, affinely, at the token of its x.

    Source: Garg et al., NeurIPS 2022 (arXiv 2208.01066), whose architecture the paper takes over;
    blocks and initialisation as in Hugging Face's ``GPT2Model``, which it equals at the same
    weights. The last y has no successor and is left out.

    Args:
        config: The sizes.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.read_in = nn.Linear(config.n_dims, config.width)
        self.positions = nn.Parameter(torch.zeros(2 * config.n_points, config.width))
        self.blocks = nn.ModuleList(PublishedBlock(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.width)
        self.read_out = nn.Linear(config.width, 1)

    def predict(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"]
    ) -> Float[Tensor, "batch points"]:
        """Predict prompts that fit."""
        y_vectors = functional.pad(ys[..., None], (0, xs.shape[-1] - 1))
        tokens = torch.stack((xs, y_vectors), 2).flatten(1, 2)[:, :-1]  # x, y, x, …, x
        states = self.read_in(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            states = block(states)
        predictions: Tensor = self.read_out(self.norm(states[:, ::2])).squeeze(-1)
        return predictions

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew, as GPT-2 does; the outer maps as ``nn.Linear`` does."""
        nn.init.normal_(self.positions, std=_STD, generator=generator)
        for block in self.blocks:
            for module in block.modules():
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=_STD, generator=generator)
                    nn.init.zeros_(module.bias)
            assert isinstance(block, PublishedBlock)
            for last in (block.mix, block.down):
                std = _STD / (2 * self.config.n_layers) ** 0.5
                nn.init.normal_(last.weight, std=std, generator=generator)
        for linear in (self.read_in, self.read_out):
            bound = linear.in_features**-0.5
            nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
            nn.init.uniform_(linear.bias, -bound, bound, generator=generator)


class PublishedBlock(nn.Module):
    """A block of GPT-2, without dropout, as in the paper."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.n_heads = config.n_heads
        self.norm_1 = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, states: Float[Tensor, "batch tokens width"]) -> Tensor:
        """Return the stream after this block."""
        query, key, value = (
            part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for part in self.query_key_value(self.norm_1(states)).chunk(3, -1)
        )  # batch, heads, tokens, head width
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        states = states + self.mix(attended.transpose(1, 2).flatten(2))
        inner = functional.gelu(self.up(self.norm_2(states)), approximate="tanh")
        added: Tensor = states + self.down(inner)
        return added
