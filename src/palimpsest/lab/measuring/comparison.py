"""The base against the tuned model: every comparison that a run's results hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from palimpsest.lab.conjugations.transformations import conjugated
from palimpsest.lab.measuring.closeness import change_by_closeness
from palimpsest.lab.measuring.evaluation import outer_quantiles
from palimpsest.lab.measuring.inference import discrete_share, fit_alpha
from palimpsest.lab.measuring.measurements import Bench, g_hat, note_on, positions
from palimpsest.lab.measuring.recovery import estimate_recovery
from palimpsest.lab.measuring.splitting import Part as SplitPart
from palimpsest.lab.measuring.splitting import split_excess
from palimpsest.lab.predictors.predictor import Predictor
from palimpsest.records.lab_results import (
    ByPosition,
    Closeness,
    Conjugated,
    Decile,
    Estimate,
    Oracle,
    Part,
    Prior,
)
from palimpsest.stats.bootstrap import bootstrap_means
from palimpsest.stats.proportions import Interval


class Way(NamedTuple):
    """A way of asking, and what both models then say on ``D_cont``."""

    name: str
    n_members: int
    note: str
    """What to keep in mind; empty for a symmetry of ``D_cont`` alone."""
    base: Float[Tensor, "prompts points"]
    tuned: Float[Tensor, "prompts points"]
    tuned_disc: Float[Tensor, "prompts points"]
    """What the tuned model says on ``D_disc``."""


class Answers(NamedTuple):
    """All that both models were asked; every prompt once a way."""

    plain: Way
    ways: list[Way]
    """Single conjugations, then ensembles by size."""
    base_members: Float[Tensor, "members prompts points"]
    """Under each member of the largest ensemble, on ``D_cont``."""
    tuned_members: Float[Tensor, "members prompts points"]
    base_disc: Float[Tensor, "prompts points"]

    @property
    def largest(self) -> Way:
        """The largest ensemble."""
        return self.ways[-1]


def ask(base: Predictor, tuned: Predictor, bench: Bench) -> Answers:
    """Ask both models plainly, under every single conjugation, and under the ensembles."""
    cont, disc, ensemble = bench.cont, bench.disc, bench.ensemble
    base_members = cont.members(ensemble, base)
    tuned_members = cont.members(ensemble, tuned)
    disc_members = disc.members(ensemble, tuned)
    ways = [
        Way(
            single.name,
            1,
            note_on(single, bench.config),
            cont.predictions(conjugated(base, single)),
            cont.predictions(conjugated(tuned, single)),
            disc.predictions(conjugated(tuned, single)),
        )
        for single in bench.singles()
    ]
    kind = ensemble.name.partition(":")[0]
    note = note_on(ensemble.conjugations[0], bench.config)
    ways += [
        Way(
            f"{kind}:{size}",
            size,
            note,
            base_members[:size].mean(0),
            tuned_members[:size].mean(0),
            disc_members[:size].mean(0),
        )
        for size in sorted(set(bench.config.measure.ensemble_sizes))
    ]
    plain = Way(
        "plain", 0, "", cont.predictions(base), cont.predictions(tuned), disc.predictions(tuned)
    )
    return Answers(plain, ways, base_members, tuned_members, disc.predictions(base))


def conjugation_results(answers: Answers, bench: Bench) -> Iterator[Conjugated]:
    """Yield what each way of asking brings back."""
    cont = bench.cont
    losses = {
        f"{role} {way.name}": errors
        for way in answers.ways
        for role, errors in (
            ("base", cont.errors(way.base)),
            ("tuned", cont.errors(way.tuned)),
            ("disc", bench.disc.errors(way.tuned_disc)),
        )
    }
    estimates = bench.estimates(losses)
    plain = (cont.errors(answers.plain.base), cont.errors(answers.plain.tuned))
    for way in answers.ways:
        found = estimate_recovery(
            *plain,
            losses[f"base {way.name}"],
            losses[f"tuned {way.name}"],
            rng=bench.rng(),
            n_resamples=bench.config.measure.n_resamples,
        )
        yield Conjugated(
            name=way.name,
            n_members=way.n_members,
            is_symmetry=not way.note,
            note=way.note,
            base=estimates[f"base {way.name}"],
            tuned=estimates[f"tuned {way.name}"],
            tuned_disc=estimates[f"disc {way.name}"],
            recovery=Estimate(value=found.recovery, ci95=found.recovery_interval),
            net_recovery=Estimate(value=found.net, ci95=found.net_interval),
            g_hat=g_hat(way.tuned, bench),
        )


def forgetting(answers: Answers, bench: Bench) -> Estimate:
    """Return how much the loss on ``D_cont`` has grown."""
    base, tuned = (bench.cont.errors(f) for f in (answers.plain.base, answers.plain.tuned))
    return bench.estimates({"change": tuned - base})["change"]


def oracles(bench: Bench) -> list[Oracle]:
    """Return the losses of the exact predictors."""
    disc, cont = bench.disc, bench.cont
    return [
        Oracle(
            name=name,
            disc=float(disc.errors(of_disc).mean()),
            cont=float(cont.errors(of_cont).mean()),
        )
        for name, of_disc, of_cont in (
            ("ridge", disc.exact.ridge, cont.exact.ridge),
            ("discrete", disc.exact.discrete, cont.exact.discrete),
            ("mixture", disc.exact.predictions, cont.exact.predictions),
            ("zero", 0 * disc.exact.ridge, 0 * cont.exact.ridge),
        )
    ]


def by_exemplars(answers: Answers, bench: Bench) -> Iterator[ByPosition]:
    """Yield losses on ``D_cont`` for each number of exemplars."""
    cont, plain = bench.cont, answers.plain
    yield _spread("base", "base", cont.errors(plain.base), bench)
    yield _spread("tuned", "tuned", cont.errors(plain.tuned), bench)
    for way in (*answers.ways[: -len(bench.config.measure.ensemble_sizes)], answers.largest):
        yield _spread(way.name, "conjugated", cont.errors(way.tuned), bench)
    exact = cont.exact
    for name, found in (
        ("ridge", exact.ridge),
        ("discrete", exact.discrete),
        ("mixture", exact.predictions),
    ):
        yield positions(name, "exact", cont.errors(found).mean(0))


def inference(answers: Answers, bench: Bench) -> Iterator[ByPosition]:
    """Yield ĝ on ``D_cont`` for each number of exemplars, of both models and the Bayes mixture."""
    exact, largest = bench.cont.exact, answers.largest
    for name, kind, predictions in (
        ("base", "base", answers.plain.base),
        ("tuned", "tuned", answers.plain.tuned),
        (f"tuned under {largest.name}", "conjugated", largest.tuned),
        ("mixture", "exact", exact.predictions),
    ):
        found = discrete_share(
            predictions,
            exact.ridge,
            exact.discrete,
            rng=bench.rng(),
            n_resamples=bench.config.measure.n_resamples,
        ).by_prefix
        yield positions(name, kind, found.values, (found.low, found.high))


def splits(answers: Answers, bench: Bench) -> list[Part]:
    """Return what the excess loss of each model is made of; nothing without two symmetries."""
    if len(bench.ensemble.conjugations) < 2:
        return []
    cont, ensemble = bench.cont, bench.ensemble
    discrete = cont.members(ensemble, bench.discrete)
    found = []
    for name, members in (("base", answers.base_members), ("tuned", answers.tuned_members)):
        split = split_excess(
            members[None],
            cont.exact.ridge,
            discrete,
            rng=bench.rng(),
            n_resamples=bench.config.measure.n_resamples,
        )
        found.append(
            Part(
                name=name,
                excess=_part(split.excess),
                inference=_part(split.inference),
                overlap=_part(split.overlap),
                bias=_part(split.bias),
                variance=_part(split.variance_symmetries),
            )
        )
    return found


def priors(answers: Answers, bench: Bench) -> list[Prior]:
    """Return the prior that each model acts by."""
    found = []
    for name, predictions in (
        ("base", answers.plain.base),
        ("tuned", answers.plain.tuned),
        (f"tuned under {answers.largest.name}", answers.largest.tuned),
    ):
        fit = fit_alpha(
            predictions,
            bench.cont.exact,
            rng=bench.rng(),
            n_resamples=bench.config.measure.n_resamples,
        )
        found.append(
            Prior(
                name=name,
                alpha=Estimate(value=fit.alpha, ci95=fit.interval),
                log_odds=_finite(fit.log_odds, fit.log_odds_interval),
                distance=fit.distance,
            )
        )
    return found


def closeness(answers: Answers, bench: Bench) -> list[Closeness]:
    """Return how the loss has changed by how near the prompts are to ``D_disc``."""
    exact = bench.cont.exact
    disc = exact.log_likelihood_discrete
    base, tuned = (bench.cont.errors(f) for f in (answers.plain.base, answers.plain.tuned))
    found = []
    for by, near in (("likelihood", disc), ("odds", disc - exact.log_likelihood_continuous)):
        change = change_by_closeness(
            base,
            tuned,
            near,
            rng=bench.rng(),
            n_bins=bench.config.measure.n_deciles,
            n_resamples=bench.config.measure.n_resamples,
        )
        deciles = [
            Decile(closeness=where, change=Estimate(value=value, ci95=(low, high)))
            for where, value, low, high in zip(
                change.closeness.tolist(), *(end.tolist() for end in change.change), strict=True
            )
        ]
        difference = Estimate(value=change.last_minus_first, ci95=change.interval)
        found.append(
            Closeness.model_validate({"by": by, "deciles": deciles, "last_minus_first": difference})
        )
    return found


def _spread(
    name: str, kind: str, errors: Float[np.ndarray, "prompts points"], bench: Bench
) -> ByPosition:
    means = bootstrap_means(
        errors, range(len(errors)), rng=bench.rng(), n_resamples=bench.config.measure.n_resamples
    )
    return positions(name, kind, errors.mean(0), outer_quantiles(means))


def _part(part: SplitPart) -> Estimate:
    return Estimate(value=part.value, ci95=part.interval)


def _finite(value: float, interval: Interval) -> Estimate:
    """Return an estimate, undefined where JSON has no number for it."""
    if not math.isfinite(value):
        return Estimate(value=None)
    return Estimate(value=value, ci95=interval if np.isfinite(interval).all() else None)
