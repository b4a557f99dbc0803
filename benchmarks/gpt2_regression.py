"""The field's code for in-context regression: Hugging Face's GPT-2 under Adam.

After Garg et al., NeurIPS 2022 (arXiv 2208.01066), whose model and loop the paper takes over.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from palimpsest.lab.predictors import TransformerConfig
from palimpsest.lab.problem import Batch


class Gpt2Regression(nn.Module):
    """Reads x and (y, 0, …, 0) in turn, and answers at each x.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        sizes = GPT2Config(
            n_positions=2 * config.n_points,
            n_embd=config.width,
            n_layer=config.n_layers,
            n_head=config.n_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
        )
        self.read_in = nn.Linear(config.n_dims, config.width)
        self.backbone = GPT2Model(sizes)
        self.read_out = nn.Linear(config.width, 1)

    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        """Predict every y."""
        batch, points, dims = xs.shape
        wide = torch.cat((ys[..., None], ys.new_zeros(batch, points, dims - 1)), 2)
        tokens = torch.stack((xs, wide), 2).view(batch, 2 * points, dims)
        states: Any = self.backbone(inputs_embeds=self.read_in(tokens)).last_hidden_state
        predictions: Tensor = self.read_out(states)[:, ::2, 0]
        return predictions


def adam_step(model: nn.Module, adam: torch.optim.Optimizer, batch: Batch) -> float:
    """Make one update on the squared error at every position, as the field's loop does."""
    adam.zero_grad()
    loss = (model(batch.xs, batch.ys) - batch.ys).square().mean()
    loss.backward()
    adam.step()
    return float(loss.detach())
