"""Comparison of the base and the tuned model: all that a run's results hold of both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from palimpsest.lab.conjugations import conjugated, symmetry_note
from palimpsest.lab.measuring.bench import Bench, positions
from palimpsest.lab.measuring.closeness import change_by_closeness
from palimpsest.lab.measuring.inference import discrete_share, fit_alpha, outer_quantiles
from palimpsest.lab.measuring.recovery import estimate_recovery
from palimpsest.lab.measuring.splitting import split_excess
from palimpsest.lab.predictors import Predictor
from palimpsest.lab.problem import exact_predictors
from palimpsest.records import (
    ByPosition,
    Closeness,
    Conjugated,
    Decile,
    Estimate,
    Oracle,
    Part,
    Prior,
)
from palimpsest.stats import Interval, bootstrap_means


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

    @property
    def models(self) -> dict[str, Tensor]:
        """What both models say on ``D_cont``, the tuned one under the largest ensemble as well."""
        under = f"tuned under {self.largest.name}"
        return {"base": self.plain.base, "tuned": self.plain.tuned, under: self.largest.tuned}


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
            symmetry_note(single, bench.problem),
            cont.predictions(conjugated(base, single)),
            cont.predictions(conjugated(tuned, single)),
            disc.predictions(conjugated(tuned, single)),
        )
        for single in bench.singles()
    ]
    kind = ensemble.name.partition(":")[0]
    note = symmetry_note(ensemble.conjugations[0], bench.problem)
    ways += [
        Way(
            f"{kind}:{size}",
            size,
            note,
            base_members[:size].mean(0),
            tuned_members[:size].mean(0),
            disc_members[:size].mean(0),
        )
        for size in sorted(set(bench.measuring.ensemble_sizes))
    ]
    plain = Way(
        "plain", 0, "", cont.predictions(base), cont.predictions(tuned), disc.predictions(tuned)
    )
    return Answers(plain, ways, base_members, tuned_members, disc.predictions(base))


def compare(base: Predictor, tuned: Predictor, bench: Bench) -> dict[str, Any]:
    """Return the fields of a run's results that compare both models."""
    answers = ask(base, tuned, bench)
    cont, disc, plain = bench.cont, bench.disc, answers.plain
    on_cont = {"base_cont": cont.errors(plain.base), "tuned_cont": cont.errors(plain.tuned)}
    on_disc = {
        "base_disc": disc.errors(answers.base_disc),
        "tuned_disc": disc.errors(plain.tuned_disc),
    }
    change = on_cont["tuned_cont"] - on_cont["base_cont"]
    return {
        **bench.estimates({"forgetting": change}),
        **bench.estimates(on_cont),
        **bench.estimates(on_disc),
        "oracles": _oracles(bench),
        "by_exemplars": list(_by_exemplars(answers, bench)),
        "inference": list(_inference(answers, bench)),
        "split": list(_splits(answers, bench)),
        "priors": list(_priors(answers, bench)),
        "closeness": list(_closeness(answers, bench)),
        "conjugations": list(_conjugations(answers, bench)),
    }


def _conjugations(answers: Answers, bench: Bench) -> Iterator[Conjugated]:
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
        under = (losses[f"base {way.name}"], losses[f"tuned {way.name}"])
        found = estimate_recovery(*plain, *under, **bench.resampling())
        yield Conjugated(
            name=way.name,
            n_members=way.n_members,
            is_symmetry=not way.note,
            note=way.note,
            base=estimates[f"base {way.name}"],
            tuned=estimates[f"tuned {way.name}"],
            tuned_disc=estimates[f"disc {way.name}"],
            recovery=found.recovery,
            net_recovery=found.net,
            g_hat=bench.g_hat(way.tuned),
        )


def _oracles(bench: Bench) -> list[Oracle]:
    """Return the losses of the exact predictors."""
    disc, cont = bench.disc, bench.cont
    exact = zip(disc.exact.by_name.items(), cont.exact.by_name.values(), strict=True)
    found = [(name, on_disc, on_cont) for (name, on_disc), on_cont in exact]
    found.append(("zero", 0 * disc.exact.ridge, 0 * cont.exact.ridge))
    return [
        Oracle(
            name=name,
            disc=float(disc.errors(on_disc).mean()),
            cont=float(cont.errors(on_cont).mean()),
        )
        for name, on_disc, on_cont in found
    ]


def _by_exemplars(answers: Answers, bench: Bench) -> Iterator[ByPosition]:
    """Yield losses on ``D_cont`` for each number of exemplars."""
    cont, plain = bench.cont, answers.plain
    singles = answers.ways[: -len(bench.measuring.ensemble_sizes)]
    for name, kind, predictions in (
        ("base", "base", plain.base),
        ("tuned", "tuned", plain.tuned),
        *((way.name, "conjugated", way.tuned) for way in (*singles, answers.largest)),
    ):
        errors = cont.errors(predictions)
        means = bootstrap_means(errors, range(len(errors)), **bench.resampling())
        yield positions(name, kind, errors.mean(0), outer_quantiles(means))
    for name, predictions in cont.exact.by_name.items():
        yield positions(name, "exact", cont.errors(predictions).mean(0))


def _inference(answers: Answers, bench: Bench) -> Iterator[ByPosition]:
    """Yield ĝ on ``D_cont`` for each number of exemplars, of both models and the Bayes mixture."""
    exact = bench.cont.exact
    kinds = ("base", "tuned", "conjugated", "exact")
    models = [*answers.models.items(), ("mixture", exact.predictions)]
    for kind, (name, predictions) in zip(kinds, models, strict=True):
        shares = discrete_share(predictions, exact.ridge, exact.discrete, **bench.resampling())
        found = shares.by_prefix
        yield positions(name, kind, found.values, (found.low, found.high))


def _splits(answers: Answers, bench: Bench) -> Iterator[Part]:
    """Yield what the excess loss of each model is made of; nothing without two symmetries."""
    cont, ensemble = bench.cont, bench.ensemble
    if len(ensemble.conjugations) < 2:
        return
    discrete = cont.members(ensemble, exact_predictors(bench.problem)["discrete"])
    for name, members in (("base", answers.base_members), ("tuned", answers.tuned_members)):
        split = split_excess(members[None], cont.exact.ridge, discrete, **bench.resampling())
        excess, inference, overlap, bias, variance = (
            Estimate(value=part.value, ci95=part.interval) for part in split[:5]
        )
        yield Part(
            name=name,
            excess=excess,
            inference=inference,
            overlap=overlap,
            bias=bias,
            variance=variance,
        )


def _priors(answers: Answers, bench: Bench) -> Iterator[Prior]:
    """Yield the prior that each model acts by."""
    for name, predictions in answers.models.items():
        fit = fit_alpha(predictions, bench.cont.exact, **bench.resampling())
        yield Prior(
            name=name,
            alpha=Estimate(value=fit.alpha, ci95=fit.interval),
            log_odds=_finite(fit.log_odds, fit.log_odds_interval),
            distance=fit.distance,
        )


def _closeness(answers: Answers, bench: Bench) -> Iterator[Closeness]:
    """Yield how the loss has changed by how near the prompts are to ``D_disc``."""
    exact = bench.cont.exact
    disc = exact.log_likelihood_discrete
    base, tuned = (bench.cont.errors(f) for f in (answers.plain.base, answers.plain.tuned))
    for by, near in (("likelihood", disc), ("odds", disc - exact.log_likelihood_continuous)):
        n_bins = bench.measuring.n_deciles
        change = change_by_closeness(base, tuned, near, n_bins=n_bins, **bench.resampling())
        deciles = [
            Decile(closeness=where, change=Estimate(value=value, ci95=(low, high)))
            for where, value, low, high in zip(
                change.closeness.tolist(), *(end.tolist() for end in change.change), strict=True
            )
        ]
        difference = Estimate(value=change.last_minus_first, ci95=change.interval)
        yield Closeness.model_validate(
            {"by": by, "deciles": deciles, "last_minus_first": difference}
        )


def _finite(value: float, interval: Interval) -> Estimate:
    """Return an estimate, undefined where JSON has no number for it."""
    if not math.isfinite(value):
        return Estimate(value=None)
    return Estimate(value=value, ci95=interval if np.isfinite(interval).all() else None)
