"""Terms that hold a model near its base while it is tuned, and the way back afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.errors import UserError
from palimpsest.lab.predictors.predictor import Prompt
from palimpsest.lab.predictors.transformer import Transformer
from palimpsest.lab.problem.checks import check_share
from palimpsest.lab.training.settings import Remedies


class Penalties(NamedTuple):
    """Terms of the loss."""

    of_predictions: Sequence[Callable[[Prompt, Tensor], Tensor]] = ()
    """Means over the prompts, from them and the model's predictions."""
    of_weights: Sequence[Callable[[], Tensor]] = ()
    """What depends on the weights alone."""


NO_PENALTIES = Penalties()


def penalties(
    remedies: Remedies, model: Transformer, base: Transformer, *, noise_std: float
) -> Penalties:
    """Return the terms that the remedies add to the loss.

    Args:
        remedies: Which, and how much of each.
        model: The model in training, on its device.
        base: What it was before, on the same device; it is not trained any more.
        noise_std: σ.

    Raises:
        UserError: A divergence is asked for where there is no noise.
    """
    of_predictions, of_weights = [], []
    if remedies.kl:
        if not noise_std:
            raise UserError(
                f"kl is {remedies.kl:g}, but the problem has no noise: the divergence of two "
                "predictions is infinite.",
                hint="Choose a noise_std above zero, or l2_sp instead.",
            )
        base.requires_grad_(False)
        of_predictions.append(
            lambda prompt, f: remedies.kl * divergence(f, base(*prompt), noise_std)
        )
    if remedies.l2_sp:
        origin = {name: weight.detach() for name, weight in base.named_parameters()}
        of_weights.append(lambda: 0.5 * remedies.l2_sp * squared_distance(model, origin))
    return Penalties(of_predictions, of_weights)


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
        >>> from palimpsest.lab.predictors.transformer import TransformerConfig, new_transformer
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


def _weight(model: nn.Module, name: str) -> Tensor:
    owner, _, attribute = name.rpartition(".")
    weight: Tensor = getattr(model.get_submodule(owner), attribute)
    return weight
