"""Bench of a run: its prompts and ways of asking, and what is measured of one model with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.checks import check_count
from palimpsest.lab.conjugations import (
    GROUPS,
    LabelNegation,
    LabelScaling,
    PromptConjugation,
    PromptEnsemble,
    default_kind,
    symmetry_ensemble,
)
from palimpsest.lab.measuring.inference import discrete_share
from palimpsest.lab.predictors import MixturePass, Predictor, predict
from palimpsest.lab.problem import Batch, Problem, exact_pass
from palimpsest.lab.streams import numpy_stream, stream
from palimpsest.records import ByPosition, Estimate, Losses
from palimpsest.stats import bootstrap_means, percentile_interval


@dataclass(frozen=True)
class Measuring:
    """How models are measured, on prompts that no training sees.

    Raises:
        UserError: A count below one, no size of an ensemble, or labels scaled by zero or by no
            finite number.
    """

    n_prompts: int = 2048
    """Prompts of each distribution."""
    n_curve_prompts: int = 512
    """Prompts of each distribution for the measurements during fine-tuning and for the remedies."""
    n_curve_points: int = 10
    """Measurements during fine-tuning, denser at its start."""
    ensemble_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Members of the symmetry ensembles."""
    kind: str | None = None
    """Group of symmetries, such as ``rotations``; the largest that fits the problem if left out."""
    label_factors: tuple[float, ...] = (0.5, 1.5, 2.0, 3.0)
    """γ of the label scalings."""
    n_resamples: int = 2000
    """Bootstrap resamples of the prompts."""
    n_deciles: int = 10
    """Groups of prompts by their closeness to ``D_disc``."""

    def __post_init__(self) -> None:
        for name in ("n_prompts", "n_curve_prompts", "n_curve_points", "n_resamples", "n_deciles"):
            check_count(f"measure.{name}", getattr(self, name))
        for size in self.ensemble_sizes:
            check_count("measure.ensemble_sizes", size)
        if not self.ensemble_sizes:
            raise UserError("measure.ensemble_sizes is empty; it needs at least one size.")
        for factor in self.label_factors:
            if not math.isfinite(factor) or factor == 0:
                raise UserError(
                    f"measure.label_factors holds {factor:g}; labels cannot be scaled by it.",
                    hint="Give finite numbers other than zero.",
                )


class Resampling(TypedDict):
    """Arguments of everything that has a bootstrap interval."""

    rng: np.random.Generator
    n_resamples: int


@dataclass(frozen=True, eq=False)
class Prompts:
    """Fresh prompts of one distribution, with the exact answers."""

    batch: Batch
    exact: MixturePass
    """Of the discrete set that is tuned on."""

    def errors(
        self, predictions: Float[Tensor, "prompts points"]
    ) -> Float[np.ndarray, "prompts points"]:
        """Return the squared errors of predictions against the targets without noise."""
        found: np.ndarray = (predictions - self.batch.targets.double()).square().numpy()
        return found

    def loss(self, predictions: Float[Tensor, "prompts points"]) -> float:
        """Return the mean squared error."""
        return float((predictions - self.batch.targets.double()).square().mean())

    def predictions(self, predictor: Predictor) -> Float[Tensor, "prompts points"]:
        """Return what a predictor says."""
        return predict(predictor, self.batch.xs, self.batch.ys, prompts_per_call=prompts_per_call())

    def members(
        self, ensemble: PromptEnsemble, predictor: Predictor
    ) -> Float[Tensor, "members prompts points"]:
        """Return what a predictor says under each conjugation, in float64 on the CPU."""
        with torch.no_grad():
            found = ensemble.members(predictor, self.batch.xs, self.batch.ys)
        return found.to("cpu", torch.float64)


@dataclass(frozen=True, eq=False)
class Bench:
    """The prompts that models are measured on, and the ways of asking."""

    problem: Problem
    """Its discrete set is tuned on."""
    measuring: Measuring
    seed: int
    """Of prompts, conjugations and resamples; no training draws the same from it."""
    n_prompts: int
    """Prompts of each distribution."""

    @cached_property
    def cont(self) -> Prompts:
        """``D_cont``."""
        return self.prompts("cont")

    @cached_property
    def disc(self) -> Prompts:
        """``D_disc``, the set that is tuned on."""
        return self.prompts("disc")

    @cached_property
    def ensemble(self) -> PromptEnsemble:
        """The largest symmetry ensemble; the first members are the smaller ones.

        Raises:
            UserError: There is no such group, or it has fewer members.
        """
        drawn = symmetry_ensemble(
            max(self.measuring.ensemble_sizes),
            stream(self.seed, "conjugations", purpose="evaluation"),
            self.measuring.kind or default_kind(self.problem),
            n_dims=self.problem.n_dims,
        )
        return replace(drawn, prompts_per_call=prompts_per_call())

    def singles(self) -> list[PromptConjugation]:
        """Return the conjugations that are asked one by one."""
        found: list[PromptConjugation] = [LabelScaling(g) for g in self.measuring.label_factors]
        found.append(LabelNegation())
        for number, kind in enumerate([*GROUPS][:3], 1):
            generator = stream(self.seed, "conjugations", number, purpose="evaluation")
            with suppress(UserError):  # one dimension has no permutations
                drawn = symmetry_ensemble(1, generator, kind, n_dims=self.problem.n_dims)
                found += drawn.conjugations
        return found

    def resampling(self) -> Resampling:
        """Return the bootstrap's source of randomness, the same each time, and its size."""
        rng = numpy_stream(self.seed, "bootstrap")
        return {"rng": rng, "n_resamples": self.measuring.n_resamples}

    def estimates(
        self, losses: Mapping[str, Float[np.ndarray, "prompts points"]]
    ) -> dict[str, Estimate]:
        """Return the mean of each table of squared errors, with intervals of one bootstrap."""
        columns = np.column_stack([table.mean(1) for table in losses.values()])
        means = bootstrap_means(columns, range(len(columns)), **self.resampling())
        return {
            name: Estimate(value=float(columns[:, i].mean()), ci95=percentile_interval(means[:, i]))
            for i, name in enumerate(losses)
        }

    def g_hat(self, predictions: Float[Tensor, "prompts points"]) -> Estimate:
        """Return ĝ on ``D_cont``, over all positions."""
        exact = self.cont.exact
        found = discrete_share(predictions, exact.ridge, exact.discrete, **self.resampling())
        return Estimate(value=found.overall, ci95=found.interval)

    def prompts(self, distribution: str) -> Prompts:
        """Return fresh prompts of a distribution."""
        batch = self.problem.batch(
            distribution, self.n_prompts, seed=self.seed, purpose="evaluation"
        )
        return Prompts(batch, exact_pass(self.problem, batch.xs, batch.ys))


def prompts_per_call() -> int:
    """Return how many prompts a model is given at a time.

    A processor is twice as fast when what a block computes stays in its cache; a GPU wants many.
    """
    return 4096 if torch.cuda.is_available() else 256


def measure_losses(step: int, model: Predictor, bench: Bench) -> Losses:
    """Measure a model during fine-tuning."""
    plain = bench.cont.predictions(model)
    under = bench.cont.members(bench.ensemble, model).mean(0)
    cont = bench.estimates({"plain": bench.cont.errors(plain), "under": bench.cont.errors(under)})
    disc = bench.estimates({"plain": bench.disc.errors(bench.disc.predictions(model))})
    return Losses(
        step=step,
        disc=disc["plain"],
        cont=cont["plain"],
        cont_ensemble=cont["under"],
        g_hat=bench.g_hat(plain),
        g_hat_ensemble=bench.g_hat(under),
    )


def curve_steps(n_steps: int, n_points: int) -> list[int]:
    """Return the steps of fine-tuning at which is measured: the ends, and denser at the start.

    Example:
        >>> curve_steps(150, 6)
        [0, 3, 7, 14, 31, 69, 150]
    """
    first = max(1.0, n_steps / 50)
    return [0, *sorted({round(at) for at in np.geomspace(first, n_steps, n_points)})]


def positions(
    name: str, kind: str, values: Iterable[float], interval: Sequence[Iterable[float]] = ()
) -> ByPosition:
    """Return a record of values at every number of exemplars; null where one is undefined."""
    low, high = ([_number(value) for value in end] for end in interval or ((), ()))
    return ByPosition.model_validate(
        {
            "name": name,
            "kind": kind,
            "values": [_number(value) for value in values],
            "low": low,
            "high": high,
        }
    )


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
