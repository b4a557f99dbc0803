r"""Convergence of a base model: whether it has learnt to infer, and not to regress alone.

A transformer comes near the Bayes mixture in loss long before it infers as sharply. So two figures
are asked for, on fresh prompts: what is missing in loss on ``D_mix``,

.. math:: (L - L_{mix}) / (L_{zero} - L_{mix}) < 0.015,

and the prior that the model acts by on ``D_cont``: the 95 % interval of :math:`\hat α` holds the α
that it was trained with.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from palimpsest.lab.measuring.bench import Bench, prompts_per_call
from palimpsest.lab.measuring.inference import discrete_share, fit_alpha
from palimpsest.lab.predictors import Predictor, predict
from palimpsest.records import Check, Estimate

CONVERGED_SHARE = 0.015
"""Less than this may be missing of what can be learned."""

_RESOLUTION = 1e-3
"""To which the ends of an interval of α̂ are known: they come from a parabola on a grid."""

LEARNT = 0.5
"""Learnt is the discrete solution from this share of the ĝ that the Bayes mixture has."""


class Convergence(NamedTuple):
    """How near a model is to the Bayes mixture, in loss and in inference."""

    share_of_mixture: float
    """(L − L_mix) / (L_zero − L_mix) on ``D_mix``."""
    alpha: Estimate
    """α̂ on ``D_cont``."""
    true_alpha: float
    """α of the problem."""

    @property
    def holds(self) -> bool:
        """Whether the model has converged."""
        low, high = self.alpha.ci95 or (1.0, 0.0)
        is_held = low - _RESOLUTION <= self.true_alpha <= high + _RESOLUTION
        return is_held and self.share_of_mixture < CONVERGED_SHARE

    @property
    def sentence(self) -> str:
        """The verdict with its figures."""
        low, high = self.alpha.ci95 or (float("nan"), float("nan"))
        verdict = (
            "Converged"
            if self.holds
            else "NOT converged: what follows is about a model that has not learnt to infer"
        )
        return (
            f"{verdict}. On D_mix {100 * self.share_of_mixture:.1f} % of what can be learned is "
            f"missing (less than {100 * CONVERGED_SHARE:.1f} % is asked for), and α̂ is "
            f"{self.alpha.or_zero:.3f} [{low:.3f}, {high:.3f}] (it should hold "
            f"{self.true_alpha:g})."
        )


def measure_convergence(model: Predictor, bench: Bench) -> Convergence:
    """Measure whether a model has converged.

    Args:
        model: The base model, or what it is so far.
        bench: Of the problem that it is pretrained on.
    """
    mix, cont = bench.prompts("mix"), bench.cont
    answers = predict(model, mix.batch.xs, mix.batch.ys, prompts_per_call=prompts_per_call())
    loss, least, most = (
        mix.loss(found) for found in (answers, mix.exact.predictions, torch.zeros_like(answers))
    )
    fit = fit_alpha(cont.predictions(model), cont.exact, **bench.resampling())
    return Convergence(
        share_of_mixture=(loss - least) / (most - least),
        alpha=Estimate(value=fit.alpha, ci95=fit.interval),
        true_alpha=bench.problem.alpha,
    )


def check_base(base: Predictor, bench: Bench) -> Check:
    """Check what a model has learnt in pretraining: to infer, and the discrete tasks at all.

    A model too small or trained too briefly learns ridge alone; then there is nothing that tuning
    could bring forward, and nothing to recover. ĝ by itself cannot tell: where ridge is wrong, a
    model that has learnt nothing at all is on the side of the discrete solution half of the time.
    So it must also do better than ridge.

    Args:
        base: The model.
        bench: Of the problem that it was pretrained on.
    """
    converged = measure_convergence(base, bench)
    disc, exact = bench.disc, bench.disc.exact
    answers = disc.predictions(base)
    ours, ideal = (
        discrete_share(found, exact.ridge, exact.discrete, **bench.resampling())
        for found in (answers, exact.predictions)
    )
    on_disc, by_ridge = map(disc.loss, (answers, exact.ridge))
    is_learnt = ours.overall >= LEARNT * ideal.overall and on_disc < by_ridge
    verdict = (
        "The discrete solution was learnt"
        if is_learnt
        else "The discrete solution was NOT learnt, so there is little to bring forward and little "
        "to recover; train longer, or take a larger model"
    )
    return Check(
        share_of_mixture=converged.share_of_mixture,
        alpha=converged.alpha,
        is_converged=converged.holds,
        convergence=converged.sentence,
        g_hat_discrete=Estimate(value=ours.overall, ci95=ours.interval),
        g_hat_mixture=ideal.overall,
        is_learnt=is_learnt,
        sentence=f"{verdict}: on D_disc, ĝ is {ours.overall:.2f} (the Bayes mixture's is "
        f"{ideal.overall:.2f}), and the loss {on_disc:.3f} (ridge's is {by_ridge:.3f}).",
    )
