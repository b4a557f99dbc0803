r"""Remedies against forgetting while fine-tuning.

With predictions f, those of the base model :math:`f_0`, weights θ and base weights :math:`θ_0`,
the loss is

.. math:: \overline{(f - y)^2} + β \overline{(f - f_0)^2 / 2σ^2} + \frac{λ}{2} ‖θ - θ_0‖^2

The middle term is β times the divergence KL(N(f, σ²) ‖ N(f₀, σ²)), in nats a prediction: what it
comes to for a regression with noise of variance σ². Others change what is trained on, which weights
are trained, or the weights that come out.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from palimpsest.errors import UserError
from palimpsest.lab.checks import check_count, check_not_negative, check_positive, check_share
from palimpsest.lab.predictors import Prompt, Transformer
from palimpsest.lab.problem import Batch, Problem
from palimpsest.lab.streams import stream
from palimpsest.lab.training.loop import Source, Training
from palimpsest.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A fine-tuning, as a remedy sees it."""

    model: Transformer
    """In training, on its device."""
    base: Transformer
    """What it was before, on the same device."""
    problem: Problem
    """What is tuned on."""
    pretrained_on: Problem
    training: Training


@dataclass(frozen=True)
class Remedy:
    """Something done against forgetting; each part of it, by default, is nothing.

    Its first field is its strength.
    """

    is_training: ClassVar[bool] = True
    """Whether it acts during a training; if not, it is tried on the model that is tuned plainly."""

    def begin(self, tuning: Tuning) -> None:
        """Change the model before the first step."""

    def source(self, tuning: Tuning, source: Source) -> Source:
        """Return where batches come from."""
        return source

    def of_predictions(self, tuning: Tuning) -> Callable[[Prompt, Tensor], Tensor] | None:
        """Return a term of the loss: a mean over prompts, from them and their predictions."""
        return None

    def of_weights(self, tuning: Tuning) -> Callable[[], Tensor] | None:
        """Return a term of the loss that depends on the weights alone."""
        return None

    def end(self, base: Transformer, tuned: Transformer) -> Transformer:
        """Return the model that comes out, without whatever :meth:`begin` has put on it."""
        return tuned


@dataclass(frozen=True)
class Replay(Remedy):
    """Prompts from ``D_mix`` of the problem that the base model was trained on.

    Raises:
        UserError: The share lies outside 0 to 1.
    """

    share: float
    """ρ, of the prompts of all batches."""

    def __post_init__(self) -> None:
        check_share("replay", self.share)

    def source(self, tuning: Tuning, source: Source) -> Source:
        """Replace the first prompts of each batch."""
        mixture, size = tuning.pretrained_on.bayes("mix"), tuning.training.batch_size

        def draw(step: int) -> Batch:
            n, new = n_replayed(step, size, self.share), source.draw(step)
            # Inputs and noise of both are the same, row by row: each prompt is taken from one.
            old = tuning.pretrained_on.batch("mix", size, seed=tuning.training.seed, step=step)
            return Batch(*(torch.cat((a[:n], b[n:])) for a, b in zip(old, new, strict=True)))

        def bayes(step: int, batch: Batch) -> Tensor:
            assert mixture is not None
            assert source.bayes is not None
            n = n_replayed(step, size, self.share)
            new = Batch(*(part[n:] for part in batch))
            return torch.cat((mixture(batch.xs[:n], batch.ys[:n]), source.bayes(step, new)))

        if source.bayes is None:
            return Source(draw)
        return Source(draw, bayes, bayes if source.targets else None)


@dataclass(frozen=True)
class LowRankChange(Remedy):
    """Low-rank changes of the blocks' matrices alone (Hu et al., 2021, arXiv 2106.09685).

    Raises:
        UserError: No rank, or a scale that is not above zero.
    """

    rank: int
    scale: float = 2.0
    """The change is this times the product of its two factors (α/r in the paper)."""

    def __post_init__(self) -> None:
        check_count("lora_rank", self.rank)
        check_positive("lora_scale", self.scale)

    def begin(self, tuning: Tuning) -> None:
        """Put the changes on the matrices, and freeze all else."""
        drawn = stream(tuning.training.seed, "initialisation")
        add_lora(tuning.model, rank=self.rank, scale=self.scale, generator=drawn)

    def end(self, base: Transformer, tuned: Transformer) -> Transformer:
        """Add the changes to the matrices."""
        merge_lora(tuned)
        return tuned


@dataclass(frozen=True)
class WeightDistance(Remedy):
    """The squared distance to the base weights, L2-SP (Li et al., 2018, arXiv 1802.01483).

    Raises:
        UserError: λ < 0.
    """

    strength: float
    """λ."""

    def __post_init__(self) -> None:
        check_not_negative("l2_sp", self.strength)

    def of_weights(self, tuning: Tuning) -> Callable[[], Tensor]:
        """Return half of λ times the squared distance."""
        origin = {name: weight.detach() for name, weight in tuning.base.named_parameters()}
        return lambda: 0.5 * self.strength * squared_distance(tuning.model, origin)


@dataclass(frozen=True)
class Divergence(Remedy):
    """The divergence from the base model on the prompts of the batch.

    Raises:
        UserError: β < 0.
    """

    strength: float
    """β."""

    def __post_init__(self) -> None:
        check_not_negative("kl", self.strength)

    def of_predictions(self, tuning: Tuning) -> Callable[[Prompt, Tensor], Tensor]:
        """Return β times the divergence.

        Raises:
            UserError: The problem has no noise.
        """
        noise_std = tuning.problem.noise_std
        if not noise_std:
            raise UserError(
                f"kl is {self.strength:g}, but the problem has no noise: the divergence of two "
                "predictions is infinite.",
                hint="Choose a noise_std above zero, or l2_sp instead.",
            )
        tuning.base.requires_grad_(False)
        return lambda prompt, f: self.strength * divergence(f, tuning.base(*prompt), noise_std)


@dataclass(frozen=True)
class Interpolation(Remedy):
    """Weights between the base and the tuned model, WiSE-FT (Wortsman et al., 2021).

    Raises:
        UserError: The share lies outside 0 to 1.
    """

    share: float
    """Of the way that is gone after the training."""

    is_training = False

    def __post_init__(self) -> None:
        check_share("interpolation", self.share)

    def end(self, base: Transformer, tuned: Transformer) -> Transformer:
        """Return a new model between the two."""
        return interpolated(base, tuned, self.share)


REMEDIES: Registry[Callable[[float], Remedy]] = Registry(
    "remedy",
    {
        "replay": "palimpsest.lab.training.remedies:Replay",
        "lora_rank": "palimpsest.lab.training.remedies:LowRankChange",
        "l2_sp": "palimpsest.lab.training.remedies:WeightDistance",
        "kl": "palimpsest.lab.training.remedies:Divergence",
        "interpolation": "palimpsest.lab.training.remedies:Interpolation",
        "own_samples": "palimpsest.lab.training.own_samples:OwnSamples",
        "value_matrices": "palimpsest.lab.training.value_matrices:ValueMatrices",
    },
    plural="remedies",
)
"""Remedies by their keys in the section ``remedies`` of a configuration; built from a strength."""


def n_replayed(step: int, batch_size: int, share: float) -> int:
    """Return how many prompts of a step's batch are replayed; over all steps, the exact share.

    Example:
        >>> [n_replayed(step, 8, share=0.2) for step in range(5)]
        [1, 2, 1, 2, 2]
    """
    return math.floor((step + 1) * batch_size * share) - math.floor(step * batch_size * share)


def divergence(
    predictions: Float[Tensor, "batch points"],
    base_predictions: Float[Tensor, "batch points"],
    noise_std: float,
) -> Float[Tensor, ""]:
    r"""Return the mean of :math:`KL(N(f, σ^2) ‖ N(f_0, σ^2)) = (f - f_0)^2 / 2σ^2`, in nats.

    Example:
        >>> divergence(torch.ones(1, 1), torch.zeros(1, 1), noise_std=0.5)
        tensor(2.)
    """
    return (predictions - base_predictions).square().mean() / (2 * noise_std**2)


def squared_distance(model: nn.Module, origin: Mapping[str, Tensor]) -> Float[Tensor, ""]:
    """Return the squared distance of all weights to those given.

    Of a matrix with a low-rank change, the changed matrix counts.
    """
    terms = [(_weight(model, name) - there).square().sum() for name, there in origin.items()]
    return torch.stack(terms).sum()


def interpolated(base: Transformer, tuned: Transformer, share: float) -> Transformer:
    r"""Return a new model with the weights :math:`θ_0 + s (θ - θ_0)`.

    Source: Wortsman et al., 2021 (arXiv 2109.01903).

    Args:
        base: θ₀.
        tuned: θ.
        share: s, from 0 (base) to 1 (tuned).

    Raises:
        UserError: The share lies outside, or the models differ in size.

    Example:
        >>> from palimpsest.lab.predictors import TransformerConfig, new_transformer
        >>> config = TransformerConfig(n_dims=2, n_points=5, width=8, n_layers=1, n_heads=2)
        >>> model = new_transformer(config, seed=0)
        >>> halfway = interpolated(model, new_transformer(config, seed=1), 0.5)
    """
    check_share("share", share)
    if base.config != tuned.config:
        raise UserError(
            f"Only models of one size can be interpolated; got {base.config} and {tuned.config}."
        )
    between = copy.deepcopy(tuned)
    ends = dict(base.named_parameters())
    with torch.no_grad():
        for name, weight in between.named_parameters():
            start = ends[name].to(weight)
            # At the ends exactly the ends: `lerp` is, at its own.
            weight.copy_(torch.lerp(start, weight, share))
    return between


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
        >>> from palimpsest.lab.predictors import TransformerConfig, new_transformer
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


def _weight(model: nn.Module, name: str) -> Tensor:
    owner, _, attribute = name.rpartition(".")
    weight: Tensor = getattr(model.get_submodule(owner), attribute)
    return weight
