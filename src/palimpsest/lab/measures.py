"""The single numbers of a run that sweeps put into their tables."""

from __future__ import annotations

from collections.abc import Iterator

from palimpsest.errors import UserError, did_you_mean
from palimpsest.records.lab_results import Conjugated, Estimate, LabResults

MEASURES = {
    "share_of_mixture": "base model on D_mix: 0 is the Bayes mixture, 1 predicting zero",
    "g_hat_discrete": "ĝ of the base model on D_disc",
    "base_cont": "loss of the base model on D_cont",
    "tuned_cont": "loss of the tuned model on D_cont",
    "base_disc": "loss of the base model on D_disc",
    "tuned_disc": "loss of the tuned model on D_disc",
    "ridge_cont": "loss of ridge on D_cont",
    "forgetting": "tuned minus base loss on D_cont",
    "ensemble_cont": "loss of the tuned model on D_cont under the largest ensemble",
    "recovery": "recovery by the largest symmetry ensemble",
    "net_recovery": "the same, net of what it gives the base model",
    "recovery_scaling": "recovery by the best label scaling",
    "recovery_rotation": "recovery by one member of the ensemble",
    "g_hat_base": "ĝ of the base model on D_cont",
    "g_hat_tuned": "ĝ of the tuned model on D_cont",
    "g_hat_ensemble": "ĝ of the tuned model on D_cont under the largest ensemble",
    "alpha_base": "α̂ of the base model",
    "alpha_tuned": "α̂ of the tuned model",
    "inference_share": "share of the growth of the excess that is a shift of the inferred task",
    "nearest_minus_farthest": "change of loss among the nearest prompts minus the farthest, by "
    "likelihood",
}
"""Name to what it is; those with an interval also have NAME_low and NAME_high."""


def measures(results: LabResults) -> dict[str, float | None]:
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
    yield "share_of_mixture", results.check.share_of_mixture
    yield "g_hat_discrete", results.check.g_hat_discrete
    for name in ("base_cont", "tuned_cont", "base_disc", "tuned_disc"):
        yield name, getattr(results, name)
    yield "ridge_cont", next(one.cont for one in results.oracles if one.name == "ridge")
    yield "forgetting", results.forgetting
    yield from _recovered(results)
    yield "g_hat_base", results.curve[0].g_hat
    yield "g_hat_tuned", results.curve[-1].g_hat
    yield "g_hat_ensemble", results.curve[-1].g_hat_ensemble
    base, tuned, *_ = results.priors
    yield "alpha_base", base.alpha
    yield "alpha_tuned", tuned.alpha
    yield "inference_share", _inference_share(results)
    yield "nearest_minus_farthest", results.closeness[0].last_minus_first


def _recovered(results: LabResults) -> Iterator[tuple[str, Estimate | None]]:
    best = results.best
    yield "ensemble_cont", best.tuned if best else None
    yield "recovery", best.recovery if best else None
    yield "net_recovery", best.net_recovery if best else None
    scalings = [one for one in results.conjugations if one.name.startswith("scale:")]
    yield "recovery_scaling", _highest(scalings)
    kind = best.name.partition(":")[0] if best else ""
    single = [one for one in results.conjugations if one.name == f"{kind}:1"]
    yield "recovery_rotation", _highest(single)


def _highest(found: list[Conjugated]) -> Estimate | None:
    defined = [one.recovery for one in found if one.recovery.value is not None]
    return max(defined, key=lambda one: one.value or 0.0, default=None)


def _inference_share(results: LabResults) -> float | None:
    if len(results.split) != 2:
        return None
    base, tuned = results.split
    grown = (tuned.excess.value or 0.0) - (base.excess.value or 0.0)
    if grown <= 0:
        return None
    return ((tuned.inference.value or 0.0) - (base.inference.value or 0.0)) / grown
