"""The figures of a laboratory run: what each is called, how it is read, what it says in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.report.figure import Drawing
from palimpsest.report.lab import charts as lab_charts
from palimpsest.report.text import number

if TYPE_CHECKING:
    from palimpsest.records.lab_results import ByPosition, Estimate, LabResults


def lab_drawings(results: LabResults) -> list[Drawing]:
    """Return the figures that these results allow, in the order of the report."""
    found = [_tuning(results), _by_exemplars(results), _inference(results)]
    if results.split:
        found.append(_split(results))
    if results.closeness:
        found.append(_closeness(results))
    found.append(_recovery(results))
    if results.remedies:
        found.append(_trade_off(results))
    return found


def _tuning(results: LabResults) -> Drawing:
    said = (
        f"step {one.step}: D_disc {_text(one.disc)}, D_cont {_text(one.cont)}, "
        f"D_cont under the ensemble {_text(one.cont_ensemble)}"
        for one in results.curve
    )
    return Drawing(
        name="tuning",
        title="Loss on both distributions during fine-tuning",
        caption="Bands are 95 % intervals over prompts. Exact is what no predictor can beat: ridge "
        "on D_cont, the discrete estimator on D_disc. The early steps are stretched.",
        alternative=f"Mean squared errors. {'; '.join(said)}.",
        draw=lambda width: lab_charts.draw_tuning(results, width),
    )


def _by_exemplars(results: LabResults) -> Drawing:
    said = (f"{one.name}: {_ends(one)}" for one in results.by_exemplars)
    return Drawing(
        name="by-exemplars",
        title="Loss on D_cont by number of exemplars, under each conjugation",
        caption="Each panel has the same base, tuned and exact lines, and the tuned model under "
        "one conjugation. Ridge is the best that can be done on D_cont; a model that acts by the "
        "pretraining mixture follows the mixture. The scale is logarithmic.",
        alternative=f"Mean squared errors without and with all exemplars. {'; '.join(said)}.",
        draw=lambda width: lab_charts.draw_by_exemplars(results, width),
    )


def _inference(results: LabResults) -> Drawing:
    said = (f"{one.name}: {_ends(one)}" for one in results.inference)
    return Drawing(
        name="inference",
        title="Inferred share of the discrete solution, ĝ, on D_cont",
        caption="How far a model’s answers lie on the way from ridge to the discrete solution. "
        "The prompts ask for ridge; what is above the Bayes mixture is too much of the discrete "
        "solution. With no exemplars, both solutions are near each other.",
        alternative=f"ĝ without and with all exemplars. {'; '.join(said)}.",
        draw=lambda width: lab_charts.draw_inference(results, width),
    )


def _split(results: LabResults) -> Drawing:
    said = (
        f"{one.name}: excess {_text(one.excess)}, inferred task {_text(one.inference)}, overlap "
        f"{_text(one.overlap)}, bias {_text(one.bias)}, variance {_text(one.variance)}"
        for one in results.split
    )
    return Drawing(
        name="split",
        title="Excess loss on D_cont over ridge, and what it is made of",
        caption="Inferred task: from a share of the discrete solution in the answers. Variance: "
        "differs between symmetric ways of asking the same, so an ensemble averages it away. Bias: "
        "neither. Overlap: twice the product of the shift and the bias. The thin line is the 95 % "
        "interval of the whole.",
        alternative=f"Parts of the excess. {'; '.join(said)}.",
        draw=lambda width: lab_charts.draw_split(results.split, width),
    )


def _closeness(results: LabResults) -> Drawing:
    said = (
        f"by {one.by}: "
        + ", ".join(_text(decile.change) for decile in one.deciles)
        + f"; nearest minus farthest {_text(one.last_minus_first)}"
        for one in results.closeness
    )
    return Drawing(
        name="closeness",
        title="Change of loss on D_cont, by how near the prompts are to D_disc",
        caption="Prompts are ranked at each number of exemplars by itself. The likelihood of the "
        "labels under D_disc is also high for small labels; the odds of D_disc against D_cont are "
        "not. Bars are 95 % intervals over prompts.",
        alternative=f"Change of loss in groups from farthest to nearest, {'; '.join(said)}.",
        draw=lambda width: lab_charts.draw_closeness(results, width),
    )


def _recovery(results: LabResults) -> Drawing:
    said = (
        f"{one.name}: {_text(one.recovery)}, net {_text(one.net_recovery)}"
        for one in results.conjugations
    )
    return Drawing(
        name="recovery",
        title="Share of the forgetting on D_cont that each conjugation recovers",
        caption="Recovery is (L_tuned − L_tuned,s) / (L_tuned − L_base). An ensemble improves the "
        "base model too; the net figure takes that off. A prompt under one symmetry is as likely "
        "as the prompt itself, so one alone recovers nothing on average; the mean over several "
        "does (rotations:8 has 8). Bars are 95 % intervals over prompts; an arrow lies outside.",
        alternative=f"Recovery. {'; '.join(said)}.",
        draw=lambda width: lab_charts.draw_recovery(results.conjugations, width),
    )


def _trade_off(results: LabResults) -> Drawing:
    said = (
        f"{one.name}: D_disc {_text(one.disc)}, D_cont {_text(one.cont)}, under the ensemble "
        f"{_text(one.cont_ensemble)}"
        for one in results.remedies
    )
    return Drawing(
        name="trade-off",
        title="Trade-off between both distributions: tuning, and remedies against forgetting",
        caption="Lower left is better. The line is plain tuning from the base model (blue ring) to "
        "the last step; each mark is a model tuned as long with one remedy, with its strength: "
        "share of replayed prompts, rank, λ, β, or share of the way to the tuned weights.",
        alternative=f"Losses. {'; '.join(said)}.",
        draw=lambda width: lab_charts.draw_trade_off(results, width),
    )


def _ends(one: ByPosition) -> str:
    return f"{number(one.values[0], 3)} and {number(one.values[-1], 3)}"


def _text(estimate: Estimate) -> str:
    if estimate.value is None:
        return "undefined"
    if estimate.ci95 is None:
        return number(estimate.value, 3)
    low, high = estimate.ci95
    return f"{number(estimate.value, 3)} [{number(low, 3)}, {number(high, 3)}]"
