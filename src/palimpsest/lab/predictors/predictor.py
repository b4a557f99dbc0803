"""Predictors: anything that maps the x and y of prompts to a prediction of every y."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.training import map_on_cores


@runtime_checkable
class Predictor(Protocol):
    """Closed form or trained, called in one way.

    The prediction at position k uses ``xs[:, :k + 1]`` and ``ys[:, :k]`` only. A trained model
    sees x; an exact predictor for another function class sees φ(x).
    """

    def __call__(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"], /
    ) -> Float[Tensor, "batch points"]:
        """Predict the y at every position from the exemplars before it."""
        ...


class Prompt(NamedTuple):
    """A batch of prompts: what a conjugation is applied to."""

    xs: Float[Tensor, "batch points dims"]
    ys: Float[Tensor, "batch points"]


def predict_zero(
    xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"]
) -> Float[Tensor, "batch points"]:
    """Predict zero, the prior mean, whatever the exemplars: the yardstick of no learning."""
    return torch.zeros_like(ys)


@dataclass(frozen=True)
class OnFeatures:
    """A predictor that is shown φ(x), computed in float64, in place of x."""

    predictor: Predictor
    features: Callable[[Tensor], Tensor]
    """φ."""

    def __call__(
        self, xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"], /
    ) -> Float[Tensor, "batch points"]:
        """Predict each y from the exemplars before it."""
        return self.predictor(self.features(xs.to(torch.float64)), ys)


def predict(
    predictor: Predictor,
    xs: Float[Tensor, "batch points dims"],
    ys: Float[Tensor, "batch points"],
    *,
    prompts_per_call: int | None = None,
) -> Float[Tensor, "batch points"]:
    """Return the predictions in float64 on the CPU, without gradients, block by block.

    On a CPU every core takes blocks of its own.

    Args:
        predictor: Any predictor that may be called from several threads.
        xs: Inputs.
        ys: Labels; the last of each prompt is used by no prediction.
        prompts_per_call: Prompts in a block, which bounds the memory; by default what fits the
            device of ``xs``.

    Raises:
        UserError: A prediction for other positions than those of the prompts.
    """
    n = prompts_per_call or fitting_prompts_per_call(xs)
    with torch.no_grad():
        predictions = in_blocks(predictor, xs, ys, n).to("cpu", torch.float64)
    if predictions.shape != ys.shape:
        raise UserError(
            f"A predictor must give one number for each y, {tuple(ys.shape)}; "
            f"this one gave {tuple(predictions.shape)}."
        )
    return predictions


def in_blocks(
    predictor: Predictor,
    xs: Float[Tensor, "batch points dims"],
    ys: Float[Tensor, "batch points"],
    prompts_per_call: int,
) -> Tensor:
    """Return the predictions as they come, block by block; on a CPU, several blocks at once."""
    if len(ys) <= prompts_per_call:
        return predictor(xs, ys)
    blocks = list(zip(xs.split(prompts_per_call), ys.split(prompts_per_call), strict=True))

    def ask(block: tuple[Tensor, Tensor]) -> Tensor:
        return predictor(*block)

    on_cpu = xs.device.type == "cpu"
    return torch.cat(map_on_cores(ask, blocks) if on_cpu else [ask(block) for block in blocks])


def fitting_prompts_per_call(xs: Float[Tensor, "batch points dims"]) -> int:
    """Return how many prompts a predictor is best given at one time.

    On a CPU, larger batches outgrow the caches and take longer a prompt
    (``benchmarks/ensembles.py``).
    """
    return 128 if xs.device.type == "cpu" else 4096


def check_prompts(xs: Tensor, ys: Tensor, *, n_dims: int | None = None) -> None:
    """Check that the inputs and labels of a batch of prompts fit each other.

    Args:
        xs: Inputs, (batch, points, dims).
        ys: Labels, (batch, points).
        n_dims: What the inputs must measure; ``None`` for any.

    Raises:
        UserError: They do not.
    """
    if xs.ndim != 3 or ys.shape != xs.shape[:2]:
        raise UserError(
            "Prompts need xs of (batch, points, dims) and ys of (batch, points); "
            f"got {tuple(xs.shape)} and {tuple(ys.shape)}."
        )
    if n_dims is not None and xs.shape[2] != n_dims:
        raise UserError(
            f"The prompts have {xs.shape[2]} dimensions; the tasks' weights have {n_dims}."
        )
