"""Measures of a run: the single numbers that sweeps put into their tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from palimpsest.errors import UserError, did_you_mean
from palimpsest.records import Conjugated, Estimate, LabResults

MEASURES = {
    "n_pretrained": "steps of the pretraining",
    "is_converged": "1 if the base model has converged, else 0",
    "share_of_mixture": "base model on D_mix: 0 is the Bayes mixture, 1 predicting zero",
    "g_hat_discrete": "ĝ of the base model on D_disc",
    "g_hat_mixture": "ĝ of the Bayes mixture on D_disc",
    "base_cont": "loss of the base model on D_cont",
    "tuned_cont": "loss of the tuned model on D_cont",
    "base_disc": "loss of the base model on D_disc",
    "tuned_disc": "loss of the tuned model on D_disc",
    "ridge_cont": "loss of ridge on D_cont",
    "ridge_disc": "loss of ridge on D_disc",
    "discrete_disc": "loss of the discrete estimator on D_disc",
    "learnt_disc": "base minus tuned loss on D_disc",
    "forgetting": "tuned minus base loss on D_cont",
    "steps_to_half": "measured step by which half of the forgetting is there",
    "ensemble_cont": "loss of the tuned model on D_cont under the largest ensemble",
    "recovery": "recovery by the largest symmetry ensemble",
    "net_recovery": "the same, net of what it gives the base model",
    "recovery_scaling": "recovery by the best label scaling",
    "net_recovery_scaling": "the same, net of what it gives the base model",
    "recovery_scaling_few": "the same, over prefixes of one to d exemplars alone",
    "recovery_rotation": "recovery by one member of the ensemble",
    "g_hat_base": "ĝ of the base model on D_cont",
    "g_hat_tuned": "ĝ of the tuned model on D_cont",
    "g_hat_ensemble": "ĝ of the tuned model on D_cont under the largest ensemble",
    "g_hat_gain": "ĝ on D_cont, tuned minus base",
    "alpha_base": "α̂ of the base model",
    "alpha_tuned": "α̂ of the tuned model",
    "alpha_gain": "α̂, tuned minus base",
    "inference_share": "share of the growth of the excess that is a shift of the inferred task",
    "overlap_share": "share of it that is the overlap of that shift with the bias",
    "bias_share": "share of it that is bias",
    "variance_share": "share of it that differs between symmetric ways of asking",
    "inference_gain": "inference in the excess over ridge, tuned minus base",
    "bias_gain": "bias in the excess over ridge, tuned minus base",
    "nearest_minus_farthest": "change of loss among the nearest prompts minus the farthest, by "
    "likelihood",
    "nearest_minus_farthest_odds": "the same by odds",
}
"""Name to what it is; those with an interval also have NAME_low and NAME_high."""


def measures_of(results: LabResults) -> dict[str, float | None]:
    """Return every measure of a run, with the ends of its interval; null where undefined."""
    row: dict[str, float | None] = {}
    for name, found in _found(results):
        if isinstance(found, Estimate):
            low, high = found.ci95 or (None, None)
            row |= {name: found.value, f"{name}_low": low, f"{name}_high": high}
        else:
            row[name] = found
    return row


def check_measure(name: str) -> str:
    """Return the name of a measure.

    Raises:
        UserError: There is none of that name.
    """
    if name not in MEASURES:
        raise UserError(
            f"No measure named '{name}'.{did_you_mean(name, MEASURES)}",
            hint=f"There are: {', '.join(MEASURES)}.",
        )
    return name


def _found(results: LabResults) -> Iterator[tuple[str, Estimate | float | None]]:
    yield "n_pretrained", results.check.n_steps
    yield "is_converged", float(results.check.is_converged)
    yield "share_of_mixture", results.check.share_of_mixture
    yield "g_hat_discrete", results.check.g_hat_discrete
    yield "g_hat_mixture", results.check.g_hat_mixture
    for name in ("base_cont", "tuned_cont", "base_disc", "tuned_disc"):
        yield name, getattr(results, name)
    exact = {one.name: one for one in results.oracles}
    yield "ridge_cont", exact["ridge"].cont
    yield "ridge_disc", exact["ridge"].disc
    yield "discrete_disc", exact["discrete"].disc
    yield "learnt_disc", results.base_disc.or_zero - results.tuned_disc.or_zero
    yield "forgetting", results.forgetting
    yield "steps_to_half", _steps_to_half(results)
    yield from _recovered(results)
    yield from _recovered_by_scaling(results)
    first, *_, last = results.curve
    yield "g_hat_base", first.g_hat
    yield "g_hat_tuned", last.g_hat
    yield "g_hat_ensemble", last.g_hat_ensemble
    yield "g_hat_gain", last.g_hat.or_zero - first.g_hat.or_zero
    base, tuned, *_ = results.priors
    yield "alpha_base", base.alpha
    yield "alpha_tuned", tuned.alpha
    yield "alpha_gain", tuned.alpha.or_zero - base.alpha.or_zero
    grown = results.growth
    for part in ("inference", "overlap", "bias", "variance"):
        yield f"{part}_share", grown[part] / grown["excess"] if grown else None
    for part in ("inference", "bias"):
        yield f"{part}_gain", results.gain(part)
    by_likelihood, by_odds = results.closeness
    yield "nearest_minus_farthest", by_likelihood.last_minus_first
    yield "nearest_minus_farthest_odds", by_odds.last_minus_first


def _recovered(results: LabResults) -> Iterator[tuple[str, Estimate | None]]:
    best = results.best
    yield "ensemble_cont", best.tuned if best else None
    yield "recovery", best.recovery if best else None
    yield "net_recovery", best.net_recovery if best else None
    kind = best.name.partition(":")[0] if best else ""
    single = _best_of(one for one in results.conjugations if one.name == f"{kind}:1")
    yield "recovery_rotation", single.recovery if single else None


def _recovered_by_scaling(results: LabResults) -> Iterator[tuple[str, Estimate | float | None]]:
    scaling = _best_of(one for one in results.conjugations if one.name.startswith("scale:"))
    yield "recovery_scaling", scaling.recovery if scaling else None
    yield "net_recovery_scaling", scaling.net_recovery if scaling else None
    yield "recovery_scaling_few", _recovery_at_few(results, scaling.name) if scaling else None


def _best_of(conjugations: Iterable[Conjugated]) -> Conjugated | None:
    """Return what recovers most; nothing where no recovery is defined."""
    defined = (one for one in conjugations if one.recovery.value is not None)
    return max(defined, key=lambda one: one.recovery.or_zero, default=None)


def _recovery_at_few(results: LabResults, conjugation: str) -> float | None:
    """Return the recovery over prefixes of one to d exemplars; null unless those lost."""
    few = slice(1, results.provenance.config["problem"]["n_dims"] + 1)
    losses = {one.name: one.values[few] for one in results.by_exemplars}
    base, tuned, under = (
        sum(value or 0.0 for value in losses[name]) for name in ("base", "tuned", conjugation)
    )
    return (tuned - under) / (tuned - base) if tuned > base else None


def _steps_to_half(results: LabResults) -> float | None:
    """Return the first step of the curve with half of the last one's forgetting."""
    first, *_, last = (one.cont.or_zero for one in results.curve)
    if last <= first:
        return None
    half = first + (last - first) / 2
    return float(next(one.step for one in results.curve if one.cont.or_zero >= half))
