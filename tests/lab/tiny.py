"""A problem and a training small enough to be run whole in a tenth of a second."""

import torch
from torch import nn

from palimpsest.lab.predictors.transformer import TransformerConfig
from palimpsest.lab.problem.problem import Problem
from palimpsest.lab.training.loop import Training

PROBLEM = Problem(n_dims=2, n_tasks=3, n_exemplars=4, noise_std=0.5)
SIZES = TransformerConfig(n_dims=2, n_points=5, width=8, n_layers=2, n_heads=2)
TRAINING = Training(n_steps=8, batch_size=8, n_warmup_steps=2, save_every=3)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of all weights."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def same(a: nn.Module, b: nn.Module) -> bool:
    """Return whether two models have equal weights, to the last bit."""
    one, two = weights(a), weights(b)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
