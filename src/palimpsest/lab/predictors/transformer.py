"""Transformers of every architecture: their sizes and checks, how they are made and kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.errors import UserError
from palimpsest.lab.checks import check_count
from palimpsest.lab.streams import stream
from palimpsest.registry import Registry
from palimpsest.training import check_same, read_tensors, write_tensors


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
            raise ARCHITECTURES.unknown(self.architecture)

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
    # Linear layers draw weights when they are made: not from everybody's generator.
    with torch.random.fork_rng(devices=[]):
        return ARCHITECTURES.get(config.architecture)(config)


def save_transformer(
    model: Transformer,
    path: Path,
    *,
    task_fingerprint: str | None = None,
    n_steps: int | None = None,
) -> None:
    """Write a model's weights, its sizes, which discrete set it knows, and the updates made.

    Raises:
        UserError: The file cannot be written.
    """
    facts = {
        "config": asdict(model.config),
        "task_fingerprint": task_fingerprint,
        "n_steps": n_steps,
    }
    write_tensors(path, model.state_dict(), facts)


def load_transformer(
    path: Path,
    *,
    config: TransformerConfig | None = None,
    task_fingerprint: str | None = None,
) -> Transformer:
    """Return the model in a file.

    Args:
        path: What :func:`save_transformer` wrote.
        config: The sizes it must have, if given.
        task_fingerprint: The ``Problem.task_fingerprint`` that it must have been trained on.

    Raises:
        UserError: No such file, no model in it, other sizes, or another discrete set.
    """
    stored = read_tensors(path)
    found = stored.facts["config"]
    wanted = {"config": asdict(config) if config else found}
    if task_fingerprint is not None:
        wanted["task_fingerprint"] = task_fingerprint
    check_same(path, {key: stored.facts[key] for key in wanted}, wanted, "model")
    model = blank_transformer(TransformerConfig(**found))
    model.load_state_dict(stored.tensors)
    return model.eval()


ARCHITECTURES: Registry[type[Transformer]] = Registry(
    "architecture",
    {
        "fast": "palimpsest.lab.predictors.fast:FastTransformer",
        "published": "palimpsest.lab.predictors.published:PublishedTransformer",
    },
)
"""Transformers by what ``model.architecture`` calls them; built from their sizes."""
