"""What all transformers of the laboratory share: their sizes, their checks, how they are made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lab.problem.checks import check_count
from palimpsest.lab.problem.streams import stream

ARCHITECTURES = ("fast", "published")


@dataclass(frozen=True)
class TransformerConfig:
    """The sizes of a transformer.

    Raises:
        UserError: A size is not positive, the heads do not divide the width, or there is no such
            architecture.

    Example:
        >>> TransformerConfig(n_dims=4, n_points=21, width=64, n_layers=3, n_heads=2).head_width
        32
    """

    n_dims: int
    """Length of x."""
    n_points: int
    """Most points in a prompt: exemplars + 1."""
    width: int
    """Length of the residual stream."""
    n_layers: int
    """Blocks."""
    n_heads: int
    """Attention heads of a block."""
    architecture: str = "fast"
    """``fast`` (one token a step) or ``published`` (GPT-2, separate tokens for x and y)."""

    def __post_init__(self) -> None:
        for name in ("n_dims", "n_points", "width", "n_layers", "n_heads"):
            check_count(name, getattr(self, name))
        if self.width % self.n_heads:
            raise UserError(
                f"{self.n_heads} heads do not divide a width of {self.width}.",
                hint="Choose a width that is a multiple of n_heads.",
            )
        if self.architecture not in ARCHITECTURES:
            raise UserError(
                f"No architecture named '{self.architecture}'."
                f"{did_you_mean(self.architecture, ARCHITECTURES)}",
                hint=f"The architectures are: {', '.join(ARCHITECTURES)}.",
            )

    @property
    def head_width(self) -> int:
        """Length of a head's queries, keys and values."""
        return self.width // self.n_heads


class Transformer(nn.Module, ABC):
    """A trained predictor, called like the exact ones: ``(xs, ys)`` to predictions of every y.

    The prediction at a point reads the xs up to it and the ys before it.
    """

    config: TransformerConfig
    """The sizes; they go into checkpoints."""

    def forward(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"]
    ) -> Float[Tensor, "batch points"]:
        """Predict y at every point, from the points before it; computed where the model is.

        Raises:
            UserError: Too many points, or xs of another length than the model was made for.
        """
        n_points, n_dims = xs.shape[1:]
        if n_dims != self.config.n_dims:
            raise UserError(
                f"The prompts have {n_dims} dimensions; the model reads {self.config.n_dims}."
            )
        if n_points > self.config.n_points:
            raise UserError(
                f"The prompts have {n_points - 1} exemplars; the model has positions for "
                f"{self.config.n_points - 1}.",
                hint="Use fewer exemplars, or train a model with more points.",
            )
        weight = next(self.parameters())
        return self.predict(xs.to(weight), ys.to(weight))

    @abstractmethod
    def predict(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"]
    ) -> Float[Tensor, "batch points"]:
        """Predict prompts that fit."""

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew."""


def new_transformer(config: TransformerConfig, *, seed: int) -> Transformer:
    """Return an untrained transformer; the same seed gives the same weights.

    Example:
        >>> config = TransformerConfig(n_dims=2, n_points=5, width=8, n_layers=1, n_heads=2)
        >>> new_transformer(config, seed=0)(torch.ones(3, 5, 2), torch.ones(3, 5)).shape
        torch.Size([3, 5])
    """
    model = blank_transformer(config)
    model.initialise(stream(seed, "initialisation"))
    return model


def blank_transformer(config: TransformerConfig) -> Transformer:
    """Return a transformer whose weights mean nothing yet."""
    from palimpsest.lab.predictors.fast import FastTransformer
    from palimpsest.lab.predictors.published import PublishedTransformer

    kinds = {"fast": FastTransformer, "published": PublishedTransformer}
    # Linear layers draw weights when they are made: not from everybody's generator.
    with torch.random.fork_rng(devices=[]):
        return kinds[config.architecture](config)
