"""Findings of a laboratory run, in sentences with their numbers."""

from __future__ import annotations

from collections.abc import Iterator

from palimpsest.records import Estimate, LabResults
from palimpsest.report.text import number


def with_findings(results: LabResults) -> LabResults:
    """Return the results with what came out, and what to know before trusting them, in words."""
    return results.model_copy(
        update={"findings": list(_findings(results)), "warnings": list(_warnings(results))}
    )


def _findings(results: LabResults) -> Iterator[str]:
    """Yield what a reader should take away: convergence, then what each claim comes to."""
    last = results.curve[-1].step
    if results.check.is_converged:  # else it stands among the warnings
        yield results.check.convergence
    if results.check.is_learnt:  # likewise
        yield f"C1: {_lowered(results.check.sentence)}"
    yield (
        f"C2: {last} steps of tuning changed the loss on D_disc from {_number(results.base_disc)} "
        f"to {_number(results.tuned_disc)}, and that on D_cont from {_number(results.base_cont)} "
        f"to {_number(results.tuned_cont)}: forgetting {_with_interval(results.forgetting)}."
    )
    yield from _near(results)
    yield from _inferred(results)
    yield from _split(results)
    yield from _recovered(results)


def _warnings(results: LabResults) -> Iterator[str]:
    """Yield what a reader must know before trusting the figures."""
    if results.check.convergence and not results.check.is_converged:
        yield results.check.convergence
    if not results.check.is_learnt:
        yield results.check.sentence
    if not _has_forgotten(results):
        yield (
            "The loss on D_cont did not clearly grow in tuning "
            f"({_with_interval(results.forgetting)}): there is nothing to recover, and recovery "
            "is undefined."
        )


def _inferred(results: LabResults) -> Iterator[str]:
    base, tuned = results.curve[0], results.curve[-1]
    yield (
        f"C4: the share of the discrete solution on D_cont, ĝ, went from {_number(base.g_hat)} to "
        f"{_with_interval(tuned.g_hat)}; under {_best(results)} it is "
        f"{_number(tuned.g_hat_ensemble)}."
    )
    if results.priors:
        found = ", ".join(f"{one.name} {_with_interval(one.alpha)}" for one in results.priors)
        yield f"C4: the prior that each model acts by, α̂: {found}."


def _split(results: LabResults) -> Iterator[str]:
    grown = results.growth
    if results.split and not (grown and _has_forgotten(results)):
        yield "C4: the excess over ridge has not clearly grown, so its growth is not split."
        return
    if not grown:
        return
    parts = ", ".join(
        f"{number(100 * grown[name] / grown['excess'], 0)} % {words}"
        for name, words in (
            ("inference", "a shift of the inferred task"),
            ("overlap", "its overlap with the bias"),
            ("bias", "bias"),
            ("variance", "variance between symmetric ways of asking"),
        )
    )
    yield f"C4: of the {grown['excess']:.3f} that the excess over ridge has grown by, {parts}."


def _near(results: LabResults) -> Iterator[str]:
    for one in results.closeness:
        low, high = one.last_minus_first.ci95 or (0.0, 0.0)
        verdict = "more than" if low > 0 else "less than" if high < 0 else "about as much as"
        nearest = {"likelihood": "likeliest under D_disc", "odds": "nearest to D_disc by odds"}
        yield (
            f"C3: on the prompts {nearest[one.by]}, the loss grew {verdict} on the farthest: "
            f"difference {_with_interval(one.last_minus_first)}."
        )


def _recovered(results: LabResults) -> Iterator[str]:
    for one in (results.scaling, results.best):
        if one is not None and one.recovery.value is not None:
            yield (
                f"C5: under {one.name} the tuned model's loss on D_cont is {_number(one.tuned)} "
                f"(base {_number(one.base)}): recovery {_with_interval(one.recovery)}, net of what "
                f"it gives the base model {_with_interval(one.net_recovery)}."
            )


def _has_forgotten(results: LabResults) -> bool:
    """Tell whether the loss on ``D_cont`` has clearly grown."""
    interval = results.forgetting.ci95
    return interval is not None and interval[0] > 0


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _best(results: LabResults) -> str:
    return results.best.name if results.best else "the ensemble"


def _number(estimate: Estimate) -> str:
    return "undefined" if estimate.value is None else number(estimate.value, 3)


def _with_interval(estimate: Estimate) -> str:
    if estimate.ci95 is None:
        return _number(estimate)
    low, high = estimate.ci95
    return f"{_number(estimate)} [{number(low, 3)}, {number(high, 3)}]"
