"""How the figures of a laboratory run are drawn. They show what the results hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from palimpsest.report.diagnosis.charts import new_figure
from palimpsest.report.figure import (
    BASE,
    BROKEN,
    INK,
    INTRUDED,
    MUTED,
    NARROW_INCHES,
    RIGHT,
    TUNED,
)
from palimpsest.report.lab.lines import (
    PENS,
    best_name,
    both_grids,
    columns,
    draw_band,
    draw_line,
    errors,
    handle,
    mark,
    panels_of,
    pen_name,
    short,
    step_axis,
    value_of,
    whole_numbers,
)

if TYPE_CHECKING:
    from palimpsest.records.lab_results import (
        Closeness,
        Conjugated,
        Estimate,
        LabResults,
        Part,
        Remedied,
    )

REMEDY_MARKS = {"replay": "s", "lora_rank": "^", "l2_sp": "v", "kl": "P", "interpolation": "X"}
"""The mark of each remedy."""


def draw_tuning(results: LabResults, width: float) -> Figure:
    """Losses on both distributions over the steps of fine-tuning."""
    curve = results.curve
    best = best_name(results)
    legend = [
        handle("tuned", "tuned model"),
        handle("conjugated", f"under {best}"),
        handle("base", "base model"),
        handle("ridge", "exact"),
    ]
    figure, (on_cont, on_disc) = panels_of(
        "Loss on both distributions during fine-tuning", width, 2, legend
    )
    oracle = {one.name: one for one in results.oracles}
    for axes, name, title, exact in (
        (on_cont, "cont", "D_cont, the ability that is tuned away", oracle["ridge"].cont),
        (on_disc, "disc", "D_disc, what is tuned on", oracle["discrete"].disc),
    ):
        draw_band(axes, curve, name, PENS["tuned"])
        if name == "cont":
            draw_band(axes, curve, "cont_ensemble", PENS["conjugated"])
        axes.axhline(getattr(curve[0], name).value, color=BASE, linewidth=1.1, linestyle="-")
        axes.axhline(exact, color=INK, linewidth=1.1, linestyle="--")
        axes.set_title(title)
        axes.set_xlabel("steps of fine-tuning")
        axes.set_ylim(bottom=0)
        step_axis(axes, [one.step for one in curve])
        both_grids(axes)
    on_cont.set_ylabel("mean squared error")
    return figure


def draw_by_exemplars(results: LabResults, width: float) -> Figure:
    """One panel a conjugation: losses over the number of exemplars."""
    under = [one for one in results.by_exemplars if one.kind == "conjugated"]
    others = [one for one in results.by_exemplars if one.kind != "conjugated"]
    legend = [
        handle("base", "base"),
        handle("tuned", "tuned"),
        handle("conjugated", "tuned, under it" if width > NARROW_INCHES else "under it"),
        handle("ridge", "ridge"),
        handle("discrete", "discrete"),
        handle("mixture", "mixture"),
    ]
    figure, panels = panels_of(
        "Loss on D_cont by number of exemplars, under each conjugation",
        width,
        len(under),
        legend,
        sharey=True,
        height=1.75,
    )
    for panel, one in zip(panels, under, strict=True):
        for other in others:
            draw_line(panel, other)
        draw_line(panel, one)
        panel.set_title(short(one.name, width))
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_locator(NullLocator())
        whole_numbers(panel)
        both_grids(panel)
    figure.supxlabel("exemplars before the question", size=9)
    figure.supylabel("mean squared error", size=9)
    return figure


def draw_inference(results: LabResults, width: float) -> Figure:
    """ĝ on ``D_cont`` over the number of exemplars."""
    under = f"under {best_name(results)}"
    names = {"base": "base", "tuned": "tuned", "mixture": "Bayes mixture"}
    legend = [handle(pen_name(one), names.get(one.name, under)) for one in results.inference]
    figure = new_figure(
        "Inferred share of the discrete solution, ĝ, on D_cont",
        width,
        2.7,
        legend=legend,
        n_legend_columns=columns(legend, width),
    )
    axes = figure.add_subplot()
    for one in results.inference:
        draw_line(axes, one)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    whole_numbers(axes)
    axes.set_xlabel("exemplars before the question")
    axes.set_ylabel("ĝ (0: ridge, 1: discrete)")
    both_grids(axes)
    return figure


def draw_closeness(results: LabResults, width: float) -> Figure:
    """Change of loss by decile of closeness."""
    titles = {
        "likelihood": "by likelihood under D_disc",
        "odds": "by odds of D_disc against D_cont",
    }
    figure, panels = panels_of(
        "Change of loss on D_cont, by how near the prompts are to D_disc",
        width,
        len(results.closeness),
        sharey=True,
    )
    for panel, one in zip(panels, results.closeness, strict=True):
        _draw_deciles(panel, one)
        panel.set_title(titles[one.by])
    panels[0].set_ylabel("tuned loss − base loss")
    return figure


def _draw_deciles(axes: Axes, one: Closeness) -> None:
    changes = [decile.change for decile in one.deciles]
    places = range(1, len(changes) + 1)
    axes.errorbar(
        places,
        [value_of(change) for change in changes],
        yerr=errors(changes),
        fmt="o",
        color=TUNED,
        markersize=5,
        capsize=2.5,
        elinewidth=1.4,
    )
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_xlim(0.5, len(changes) + 0.5)
    axes.set_xticks([1, len(changes)], ["farthest", "nearest"])
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.set_xlabel("tenths of the prompts" if len(changes) == 10 else "groups of the prompts")
    both_grids(axes)


def draw_recovery(conjugations: Sequence[Conjugated], width: float) -> Figure:
    """Recovery, and the same net of what the base model gains, for each way of asking."""
    legend = [
        Line2D([], [], color=TUNED, marker="D", linestyle="", markersize=5.5, label="recovery"),
        Line2D(
            [], [], color=BASE, marker="o", linestyle="", markersize=5.5, mfc="none",
            label="net of what it gives the base model",
        ),
    ]  # fmt: skip
    figure = new_figure(
        "Share of the forgetting on D_cont that each conjugation recovers",
        width,
        0.6 + 0.27 * len(conjugations),
        legend=legend,
        n_legend_columns=len(legend) if width > NARROW_INCHES else 1,
    )
    axes = figure.add_subplot()
    low, high = _recovery_limits(conjugations)
    axes.set_xlim(low, high)
    for place, one in enumerate(conjugations):
        for estimate, color, marker, face, shift in (
            (one.recovery, TUNED, "D", TUNED, -0.14),
            (one.net_recovery, BASE, "o", "none", 0.14),
        ):
            _draw_share(axes, place + shift, estimate, color, marker, face)
        if one.recovery.value is None:
            axes.text(0.02, place, "undefined", va="center", color=MUTED, style="italic")
    for reference in (0, 1):
        axes.axvline(reference, color=MUTED, linewidth=1, zorder=1)
    names = [short(one.name + ("" if one.is_symmetry else " *"), width) for one in conjugations]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("0: nothing, 1: all of the forgetting" + _starred(conjugations, width))
    return figure


def _draw_share(
    axes: Axes, place: float, estimate: Estimate, color: str, marker: str, face: str
) -> None:
    if estimate.value is None:
        return
    low, high = axes.get_xlim()
    start, end = estimate.ci95 or (estimate.value, estimate.value)
    if max(start, low) < min(end, high):
        axes.plot([max(start, low), min(end, high)], [place, place], color=color, linewidth=1.4)
    shown = min(max(estimate.value, low), high)
    outside = "<" if estimate.value < low else ">" if estimate.value > high else marker
    axes.plot([shown], [place], outside, color=color, mfc=face, markersize=5, clip_on=False)


def draw_split(parts: Sequence[Part], width: float) -> Figure:
    """What the excess loss of each model is made of."""
    kinds = (
        ("inference", INTRUDED, "inferred task"),
        ("overlap", MUTED, "overlap"),
        ("bias", BROKEN, "bias"),
        ("variance", RIGHT, "variance between symmetries"),
    )
    legend = [Patch(color=color, label=label) for _, color, label in kinds]
    figure = new_figure(
        "Excess loss on D_cont over ridge, and what it is made of",
        width,
        0.6 + 0.42 * len(parts),
        legend=legend,
        n_legend_columns=columns(legend, width),
    )
    axes = figure.add_subplot()
    for place, part in enumerate(parts):
        ends = {True: 0.0, False: 0.0}  # estimates below zero go to the left
        for name, color, _ in kinds:
            size = value_of(getattr(part, name))
            axes.barh(place, size, left=ends[size > 0], height=0.6, color=color)
            ends[size > 0] += size
        _draw_interval(axes, place, part.excess)
    axes.set_yticks(range(len(parts)), [part.name for part in parts])
    axes.set_ylim(len(parts) - 0.5, -0.5)
    axes.set_xlabel("mean squared error")
    return figure


def _draw_interval(axes: Axes, place: float, estimate: Estimate) -> None:
    low, high = estimate.ci95 or (value_of(estimate), value_of(estimate))
    axes.plot([low, high], [place, place], color=INK, linewidth=1.2)


def draw_trade_off(results: LabResults, width: float) -> Figure:
    """Loss on ``D_disc`` against loss on ``D_cont``, plainly and under the ensemble."""
    kinds = [kind for kind in REMEDY_MARKS if any(one.kind == kind for one in results.remedies)]
    legend = [
        mark("o", "fewer steps"),
        *(mark(REMEDY_MARKS[kind], _kind(kind)) for kind in kinds),
    ]
    figure, panels = panels_of(
        "Trade-off between both distributions: tuning, and remedies against forgetting",
        width,
        2,
        legend,
        sharey=True,
        height=2.7,
    )
    for axes, name, title, color in (
        (panels[0], "cont", "asked plainly", TUNED),
        (panels[1], "cont_ensemble", f"asked under {best_name(results)}", RIGHT),
    ):
        path = [(value_of(one.disc), value_of(getattr(one, name))) for one in results.curve]
        axes.plot(*zip(*path, strict=True), "o-", color=color, markersize=3.5, linewidth=1)
        axes.plot(*path[0], "o", color=BASE, markersize=8, mfc="none", mew=1.6)
        for one in results.remedies:
            _draw_remedy(axes, one, value_of(getattr(one, name)))
        axes.set_title(title)
        axes.set_xlabel("loss on D_disc")
        both_grids(axes)
    panels[0].set_ylabel("loss on D_cont")
    return figure


def _draw_remedy(axes: Axes, one: Remedied, loss: float) -> None:
    at = (value_of(one.disc), loss)
    axes.plot(*at, REMEDY_MARKS.get(one.kind, "o"), color=INK, markersize=6)
    axes.annotate(
        f"{one.strength:g}", at, xytext=(4, 3), textcoords="offset points", size=7, color=MUTED
    )


def _kind(kind: str) -> str:
    return {"lora_rank": "LoRA rank", "l2_sp": "L2-SP", "kl": "KL"}.get(kind, kind)


def _recovery_limits(conjugations: Sequence[Conjugated]) -> tuple[float, float]:
    values = [-0.1, 1.1]
    for one in conjugations:
        for estimate in (one.recovery, one.net_recovery):
            values += [] if estimate.value is None else [estimate.value - 0.05, estimate.value]
            values += list(estimate.ci95 or ())
    return max(min(values), -0.8), min(max(values), 1.6)


def _starred(conjugations: Sequence[Conjugated], width: float) -> str:
    if all(one.is_symmetry for one in conjugations) or width <= NARROW_INCHES:
        return ""
    return "    (* no symmetry of D_cont)"
