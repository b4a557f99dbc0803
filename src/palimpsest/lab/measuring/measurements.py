"""What a run measures: a base and a tuned model, asked plainly and under every conjugation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.conjugations.ensembles import (
    KINDS,
    PromptEnsemble,
    default_kind,
    symmetry_ensemble,
)
from palimpsest.lab.conjugations.transformations import (
    LabelNegation,
    LabelScaling,
    PromptConjugation,
    symmetry_note,
)
from palimpsest.lab.measuring.evaluation import evaluation_batch
from palimpsest.lab.measuring.inference import discrete_share
from palimpsest.lab.predictors.estimators import MixturePass, exact_pass, exact_predictors
from palimpsest.lab.predictors.predictor import Predictor, predict
from palimpsest.lab.problem.problem import Batch
from palimpsest.lab.problem.streams import numpy_stream, stream
from palimpsest.lab.runs.config import Config
from palimpsest.records.lab_results import ByPosition, Check, Estimate, Losses
from palimpsest.stats.bootstrap import bootstrap_means, percentile_interval

LEARNT = 0.5
"""Learnt is the discrete solution from this share of the ĝ that the Bayes mixture has."""


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
    """The prompts that the models of a run are measured on, and the ways of asking.

    Args:
        config: The run's.
        n_prompts: Prompts of each distribution.
    """

    config: Config
    n_prompts: int

    @cached_property
    def cont(self) -> Prompts:
        """``D_cont``."""
        return self._prompts("cont")

    @cached_property
    def disc(self) -> Prompts:
        """``D_disc``, the set that is tuned on."""
        return self._prompts("disc")

    @cached_property
    def ensemble(self) -> PromptEnsemble:
        """The largest symmetry ensemble; the first members are the smaller ones."""
        config = self.config
        drawn = symmetry_ensemble(
            max(config.measure.ensemble_sizes),
            stream(config.seed, "conjugations", purpose="evaluation"),
            config.measure.kind or default_kind(config.problem),
            n_dims=config.problem.n_dims,
        )
        return replace(drawn, prompts_per_call=prompts_per_call())

    @cached_property
    def discrete(self) -> Predictor:
        """The exact predictor for the discrete set that is tuned on."""
        return exact_predictors(self.config.tuned_problem)["discrete"]

    def singles(self) -> list[PromptConjugation]:
        """Return the conjugations that are asked one by one."""
        config = self.config
        found: list[PromptConjugation] = [LabelScaling(g) for g in config.measure.label_factors]
        found.append(LabelNegation())
        for number, kind in enumerate(KINDS[:3]):
            generator = stream(config.seed, "conjugations", number + 1, purpose="evaluation")
            with suppress(UserError):  # one dimension has no permutations
                drawn = symmetry_ensemble(1, generator, kind, n_dims=config.problem.n_dims)
                found += drawn.conjugations
        return found

    def rng(self, number: int = 0) -> np.random.Generator:
        """Return the source of randomness of the bootstrap."""
        return numpy_stream(self.config.seed, "bootstrap", number)

    def estimates(self, losses: Mapping[str, Float[np.ndarray, "prompts points"]]) -> Estimates:
        """Return the mean of each table of squared errors, with intervals of one bootstrap."""
        columns = np.column_stack([table.mean(1) for table in losses.values()])
        means = bootstrap_means(
            columns,
            range(len(columns)),
            rng=self.rng(),
            n_resamples=self.config.measure.n_resamples,
        )
        return {
            name: Estimate(value=float(columns[:, i].mean()), ci95=percentile_interval(means[:, i]))
            for i, name in enumerate(losses)
        }

    def _prompts(self, distribution: str) -> Prompts:
        problem = self.config.tuned_problem
        batch = evaluation_batch(problem, distribution, self.n_prompts, seed=self.config.seed)
        return Prompts(batch, exact_pass(problem, batch.xs, batch.ys))


Estimates = dict[str, Estimate]


def prompts_per_call() -> int:
    """Return how many prompts a model is given at a time.

    A processor is twice as fast when what a block computes stays in its cache; a GPU wants many.
    """
    return 4096 if torch.cuda.is_available() else 256


def check_base(base: Predictor, config: Config) -> Check:
    """Check what a model has learnt in pretraining: the mixture, and the discrete tasks at all.

    A model too small or trained too briefly learns ridge alone; then there is nothing that tuning
    could bring forward, and nothing to recover. ĝ by itself cannot tell: where ridge is wrong, a
    model that has learnt nothing at all is on the side of the discrete solution half of the time.
    So it must also do better than ridge.
    """
    problem, n, seed = config.problem, config.measure.n_prompts, config.seed
    mix = evaluation_batch(problem, "mix", n, seed=seed)
    targets = mix.targets.double()
    bayes = exact_pass(problem, mix.xs, mix.ys).predictions
    loss, least, most = (
        float((found - targets).square().mean())
        for found in (predict(base, mix.xs, mix.ys), bayes, torch.zeros_like(targets))
    )
    disc = evaluation_batch(problem, "disc", n, seed=seed)
    exact = exact_pass(problem, disc.xs, disc.ys)
    answers = predict(base, disc.xs, disc.ys)
    ours, ideal = (
        discrete_share(
            found,
            exact.ridge,
            exact.discrete,
            rng=numpy_stream(seed, "bootstrap"),
            n_resamples=config.measure.n_resamples,
        )
        for found in (answers, exact.predictions)
    )
    on_disc, by_ridge = (
        float((found - disc.targets.double()).square().mean()) for found in (answers, exact.ridge)
    )
    is_learnt = ours.overall >= LEARNT * ideal.overall and on_disc < by_ridge
    verdict = (
        "The discrete solution was learnt"
        if is_learnt
        else "The discrete solution was NOT learnt, so there is little to bring forward and little "
        "to recover; train longer, or take a larger model"
    )
    share = (loss - least) / (most - least)
    return Check(
        share_of_mixture=share,
        g_hat_discrete=Estimate(value=ours.overall, ci95=ours.interval),
        g_hat_mixture=ideal.overall,
        is_learnt=is_learnt,
        sentence=f"{verdict}: on D_disc, ĝ is {ours.overall:.2f} (the Bayes mixture's is "
        f"{ideal.overall:.2f}), and the loss {on_disc:.3f} (ridge's is {by_ridge:.3f}). On D_mix "
        f"the model is {100 * share:.1f} % of the way from the Bayes mixture to predicting zero.",
    )


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
        g_hat=g_hat(plain, bench),
        g_hat_ensemble=g_hat(under, bench),
    )


def g_hat(predictions: Float[Tensor, "prompts points"], bench: Bench) -> Estimate:
    """Return ĝ on ``D_cont``, over all positions."""
    found = discrete_share(
        predictions,
        bench.cont.exact.ridge,
        bench.cont.exact.discrete,
        rng=bench.rng(),
        n_resamples=bench.config.measure.n_resamples,
    )
    return Estimate(value=found.overall, ci95=found.interval)


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


def note_on(conjugation: PromptConjugation, config: Config) -> str:
    """Return what to keep in mind under a conjugation; empty for a symmetry of ``D_cont`` alone."""
    return symmetry_note(conjugation, config.tuned_problem) or ""
