"""Figures of a laboratory run, in the order of its page: each a function from results to a drawing.

They show what the results hold and compute nothing. ``docs/adding/figure.md`` adds one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from palimpsest.report.figure import (
    BASE,
    BROKEN,
    INK,
    INTRUDED,
    MUTED,
    RIGHT,
    TUNED,
    Drawing,
    FigureRegistry,
    Sheet,
    draw_intervals,
    name_rows,
)
from palimpsest.report.text import clipped, interval, number, ratio

if TYPE_CHECKING:
    from palimpsest.records import ByPosition, Conjugated, Estimate, LabResults, Losses

FIGURES: FigureRegistry[LabResults] = FigureRegistry()


class Pen(NamedTuple):
    """How a line is drawn."""

    color: str
    style: Literal["-", "--", ":", "-."] = "-"
    width: float = 1.6


PENS = {
    "base": Pen(BASE),
    "tuned": Pen(TUNED),
    "conjugated": Pen(RIGHT, width=2.0),
    "ridge": Pen(INK, "--", 1.1),
    "discrete": Pen(MUTED, ":", 1.3),
    "mixture": Pen(BROKEN, "-.", 1.3),
}
"""What each kind of predictor is drawn with, in every figure."""

REMEDIES = {
    "replay": ("s", "replay"),
    "lora_rank": ("^", "LoRA rank"),
    "l2_sp": ("v", "L2-SP"),
    "kl": ("P", "KL"),
    "interpolation": ("X", "interpolation"),
}
"""The mark and the name of each remedy that has its own; the others take what is left."""

SPARE_MARKS = "*phd<>"


@FIGURES.register
def tuning(results: LabResults) -> Drawing:
    """Losses on both distributions over the steps of fine-tuning."""
    curve = results.curve
    exact = {one.name: one for one in results.oracles}
    cont = ("cont", "D_cont, the ability that is tuned away", exact["ridge"].cont)
    disc = ("disc", "D_disc, what is tuned on", exact["discrete"].disc)

    def draw(sheet: Sheet) -> None:
        legend = [
            _handle("tuned", "tuned model"),
            _handle("conjugated", f"under {_best_name(results)}"),
            _handle("base", "base model"),
            _handle("ridge", "exact"),
        ]
        panels = _panels(sheet, 2, legend)
        for axes, (name, title, loss) in zip(panels, (cont, disc), strict=True):
            _draw_band(axes, curve, name, TUNED)
            if name == "cont":
                _draw_band(axes, curve, "cont_ensemble", RIGHT)
            axes.axhline(getattr(curve[0], name).value, color=BASE, linewidth=1.1, linestyle="-")
            axes.axhline(loss, color=INK, linewidth=1.1, linestyle="--")
            axes.set(title=title, xlabel="steps of fine-tuning")
            axes.set_ylim(bottom=0)
            _step_axis(axes, curve[-1].step)
            axes.grid(visible=True, axis="both")
        panels[0].set_ylabel("mean squared error")

    said = (
        f"step {one.step}: D_disc {_text(one.disc)}, D_cont {_text(one.cont)}, "
        f"D_cont under the ensemble {_text(one.cont_ensemble)}"
        for one in curve
    )
    return Drawing(
        name="tuning",
        title="Loss on both distributions during fine-tuning",
        caption="Bands are 95 % intervals over prompts. Exact is what no predictor can beat: ridge "
        "on D_cont, the discrete estimator on D_disc. The early steps are stretched.",
        alternative=f"Mean squared errors. {'; '.join(said)}.",
        draw=draw,
    )


@FIGURES.register
def by_exemplars(results: LabResults) -> Drawing | None:
    """Losses over the number of exemplars, a panel for each conjugation."""
    under = [one for one in results.by_exemplars if one.kind == "conjugated"]
    others = [one for one in results.by_exemplars if one.kind != "conjugated"]
    if not under:
        return None

    def draw(sheet: Sheet) -> None:
        legend = [
            _handle("base", "base"),
            _handle("tuned", "tuned"),
            _handle("conjugated", "under it" if sheet.is_narrow else "tuned, under it"),
            *(_handle(name, name) for name in ("ridge", "discrete", "mixture")),
        ]
        panels = _panels(sheet, len(under), legend, height=1.75, sharey=True)
        for panel, one in zip(panels, under, strict=True):
            for line in (*others, one):
                _draw_line(panel, line)
            panel.set(title=_short(one.name, sheet), yscale="log")
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            panel.yaxis.set_minor_locator(NullLocator())
            _whole_numbers(panel)
            panel.grid(visible=True, axis="both")
        sheet.figure.supxlabel("exemplars before the question", size=9)
        sheet.figure.supylabel("mean squared error", size=9)

    return Drawing(
        name="by-exemplars",
        title="Loss on D_cont by number of exemplars, under each conjugation",
        caption="Each panel has the same base, tuned and exact lines, and the tuned model under "
        "one conjugation. Ridge is the best that can be done on D_cont; a model that acts by the "
        "pretraining mixture follows the mixture. The scale is logarithmic.",
        alternative="Mean squared errors without and with all exemplars. "
        f"{_ends(results.by_exemplars)}.",
        draw=draw,
    )


@FIGURES.register
def inference(results: LabResults) -> Drawing | None:
    """ĝ on ``D_cont`` over the number of exemplars."""
    if all(value is None for one in results.inference for value in one.values):
        return None
    names = {"base": "base", "tuned": "tuned", "mixture": "Bayes mixture"}
    under = f"under {_best_name(results)}"

    def draw(sheet: Sheet) -> None:
        legend = [_handle(_pen(one), names.get(one.name, under)) for one in results.inference]
        axes = sheet.axes(2.7, legend, narrow_columns=2)
        for one in results.inference:
            _draw_line(axes, one)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        _whole_numbers(axes)
        axes.set(xlabel="exemplars before the question", ylabel="ĝ (0: ridge, 1: discrete)")
        axes.grid(visible=True, axis="both")

    return Drawing(
        name="inference",
        title="Inferred share of the discrete solution, ĝ, on D_cont",
        caption="How far a model’s answers lie on the way from ridge to the discrete solution. "
        "The prompts ask for ridge; what is above the Bayes mixture is too much of the discrete "
        "solution. With no exemplars, both solutions are near each other.",
        alternative=f"ĝ without and with all exemplars. {_ends(results.inference)}.",
        draw=draw,
    )


@FIGURES.register
def split(results: LabResults) -> Drawing | None:
    """What the excess loss of each model is made of."""
    parts = results.split
    if not parts:
        return None
    kinds = (
        ("inference", INTRUDED, "inferred task"),
        ("overlap", MUTED, "overlap"),
        ("bias", BROKEN, "bias"),
        ("variance", RIGHT, "variance between symmetries"),
    )

    def draw(sheet: Sheet) -> None:
        legend = [Patch(color=color, label=label) for _, color, label in kinds]
        axes = sheet.axes(0.6 + 0.42 * len(parts), legend, narrow_columns=2)
        for place, part in enumerate(parts):
            ends = {True: 0.0, False: 0.0}  # estimates below zero go to the left
            for name, color, _ in kinds:
                size = _value(getattr(part, name))
                axes.barh(place, size, left=ends[size > 0], height=0.6, color=color)
                ends[size > 0] += size
            axes.plot(_interval(part.excess), [place, place], color=INK, linewidth=1.2)
        name_rows(axes, [part.name for part in parts])
        axes.set_xlabel("mean squared error")

    said = (
        f"{one.name}: excess {_text(one.excess)}, inferred task {_text(one.inference)}, overlap "
        f"{_text(one.overlap)}, bias {_text(one.bias)}, variance {_text(one.variance)}"
        for one in parts
    )
    return Drawing(
        name="split",
        title="Excess loss on D_cont over ridge, and what it is made of",
        caption="Inferred task: from a share of the discrete solution in the answers. Variance: "
        "differs between symmetric ways of asking the same, so an ensemble averages it away. Bias: "
        "neither. Overlap: twice the product of the shift and the bias. The thin line is the 95 % "
        "interval of the whole.",
        alternative=f"Parts of the excess. {'; '.join(said)}.",
        draw=draw,
    )


@FIGURES.register
def closeness(results: LabResults) -> Drawing | None:
    """Change of loss by decile of closeness."""
    found = [one for one in results.closeness if len(one.deciles) > 1]
    if not found:
        return None
    titles = {
        "likelihood": "by likelihood under D_disc",
        "odds": "by odds of D_disc against D_cont",
    }

    def draw(sheet: Sheet) -> None:
        panels = _panels(sheet, len(found), sharey=True)
        for panel, one in zip(panels, found, strict=True):
            _draw_deciles(panel, [decile.change for decile in one.deciles])
            panel.set_title(titles[one.by])
        panels[0].set_ylabel("tuned loss − base loss")

    said = (
        f"by {one.by}: "
        + ", ".join(_text(decile.change) for decile in one.deciles)
        + f"; nearest minus farthest {_text(one.last_minus_first)}"
        for one in found
    )
    return Drawing(
        name="closeness",
        title="Change of loss on D_cont, by how near the prompts are to D_disc",
        caption="Prompts are ranked at each number of exemplars by itself. The likelihood of the "
        "labels under D_disc is also high for small labels; the odds of D_disc against D_cont are "
        "not. Bars are 95 % intervals over prompts.",
        alternative=f"Change of loss in groups from farthest to nearest, {'; '.join(said)}.",
        draw=draw,
    )


@FIGURES.register
def recovery(results: LabResults) -> Drawing | None:
    """Recovery, and the same net of what the base model gains, for each way of asking."""
    conjugations = results.conjugations
    if all(one.recovery.value is None for one in conjugations):
        return None
    kinds = (
        ("recovery", "recovery", TUNED, "D", None, -0.14),
        ("net_recovery", "net of what it gives the base model", BASE, "o", "none", 0.14),
    )

    def draw(sheet: Sheet) -> None:
        legend = [
            _mark(marker, label, color=color, mfc=face, markersize=5.5)
            for _, label, color, marker, face, _ in kinds
        ]
        axes = sheet.axes(0.6 + 0.27 * len(conjugations), legend, narrow_columns=1)
        axes.set_xlim(_recovery_limits(conjugations))
        for place, one in enumerate(conjugations):
            for name, _, color, marker, face, shift in kinds:
                _draw_share(axes, place + shift, getattr(one, name), color, marker, face or color)
            if one.recovery.value is None:
                axes.text(0.02, place, "undefined", va="center", color=MUTED, style="italic")
        for reference in (0, 1):
            axes.axvline(reference, color=MUTED, linewidth=1, zorder=1)
        names = [one.name + ("" if one.is_symmetry else " *") for one in conjugations]
        name_rows(axes, [_short(name, sheet) for name in names])
        has_star = not sheet.is_narrow and not all(one.is_symmetry for one in conjugations)
        note = "    (* no symmetry of D_cont)" if has_star else ""
        axes.set_xlabel("0: nothing, 1: all of the forgetting" + note)

    said = (
        f"{one.name}: {_text(one.recovery)}, net {_text(one.net_recovery)}" for one in conjugations
    )
    return Drawing(
        name="recovery",
        title="Share of the forgetting on D_cont that each conjugation recovers",
        caption="Recovery is (L_tuned − L_tuned,s) / (L_tuned − L_base). An ensemble improves the "
        "base model too; the net figure takes that off. A prompt under one symmetry is as likely "
        "as the prompt itself, so one alone recovers nothing on average; the mean over several "
        "does (rotations:8 has 8). Bars are 95 % intervals over prompts; an arrow lies outside.",
        alternative=f"Recovery. {'; '.join(said)}.",
        draw=draw,
    )


@FIGURES.register
def trade_off(results: LabResults) -> Drawing | None:
    """Loss on ``D_disc`` against loss on ``D_cont``, plainly and under the ensemble."""
    remedies = results.remedies
    if not remedies:
        return None
    kinds = dict.fromkeys(one.kind for one in remedies)
    others = [kind for kind in kinds if kind not in REMEDIES]
    marks = REMEDIES | {kind: (mark, kind) for mark, kind in zip(SPARE_MARKS, others, strict=False)}

    def draw(sheet: Sheet) -> None:
        used = [marks[kind] for kind in marks if kind in kinds]
        legend = [_mark(*mark) for mark in (("o", "fewer steps"), *used)]
        panels = _panels(sheet, 2, legend, height=2.7, sharey=True)
        for axes, name, title, color in (
            (panels[0], "cont", "asked plainly", TUNED),
            (panels[1], "cont_ensemble", f"asked under {_best_name(results)}", RIGHT),
        ):
            path = [(_value(one.disc), _value(getattr(one, name))) for one in results.curve]
            axes.plot(*zip(*path, strict=True), "o-", color=color, markersize=3.5, linewidth=1)
            axes.plot(*path[0], "o", color=BASE, markersize=8, mfc="none", mew=1.6)
            for one in remedies:
                at = (_value(one.disc), _value(getattr(one, name)))
                marker, _ = marks.get(one.kind, ("o", one.kind))
                axes.plot(*at, marker, color=INK, markersize=6)
                offset: dict[str, Any] = {"xytext": (4, 3), "textcoords": "offset points"}
                axes.annotate(f"{one.strength:g}", at, size=7, color=MUTED, **offset)
            axes.set(title=title, xlabel="loss on D_disc")
            axes.grid(visible=True, axis="both")
        panels[0].set_ylabel("loss on D_cont")

    said = (
        f"{one.name}: D_disc {_text(one.disc)}, D_cont {_text(one.cont)}, under the ensemble "
        f"{_text(one.cont_ensemble)}"
        for one in remedies
    )
    return Drawing(
        name="trade-off",
        title="Trade-off between both distributions: tuning, and remedies against forgetting",
        caption="Lower left is better. The line is plain tuning from the base model (blue ring) to "
        "the last step; each mark is a model tuned as long with one remedy, with its strength: "
        "share of replayed prompts, rank, λ, β, or share of the way to the tuned weights.",
        alternative=f"Losses. {'; '.join(said)}.",
        draw=draw,
    )


def _panels(
    sheet: Sheet, n: int, legend: Sequence[Line2D] = (), *, height: float = 2.4, **share: bool
) -> list[Axes]:
    """Return panels, as many beside each other as the width allows."""
    n_columns = 1 if sheet.is_narrow and n <= 2 else min(n, 2 if sheet.is_narrow else 3)
    share["sharex"] = n > 2
    return sheet.panels(
        n, height, legend, n_columns=n_columns, margin=0.4, narrow_columns=2, **share
    )


def _draw_line(axes: Axes, one: ByPosition) -> None:
    """Draw a quantity over the number of exemplars, with its interval."""
    pen = PENS[_pen(one)]
    places = range(len(one.values))
    values, low, high = (
        [math.nan if value is None else value for value in line]
        for line in (one.values, one.low, one.high)
    )
    axes.plot(places, values, color=pen.color, linestyle=pen.style, linewidth=pen.width)
    if low:
        axes.fill_between(places, low, high, color=pen.color, alpha=0.16, linewidth=0)


def _draw_band(axes: Axes, curve: Sequence[Losses], name: str, color: str) -> None:
    """Draw one of the losses over the steps of fine-tuning, with its interval."""
    found: list[Estimate] = [getattr(one, name) for one in curve]
    steps = [one.step for one in curve]
    axes.plot(steps, [_value(one) for one in found], "o-", color=color, markersize=3)
    low, high = zip(*map(_interval, found), strict=True)
    axes.fill_between(steps, low, high, color=color, alpha=0.16, linewidth=0)


def _draw_deciles(axes: Axes, changes: Sequence[Estimate]) -> None:
    n = len(changes)
    values, intervals = [_value(one) for one in changes], [_interval(one) for one in changes]
    style: dict[str, Any] = {"color": TUNED, "fmt": "o", "markersize": 5}
    draw_intervals(axes, values, intervals, range(1, n + 1), upright=True, **style)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_xlim(0.5, n + 0.5)
    axes.set_xticks([1, n], ["farthest", "nearest"])
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.set_xlabel("tenths of the prompts" if n == 10 else "groups of the prompts")
    axes.grid(visible=True, axis="both")


def _draw_share(
    axes: Axes, place: float, estimate: Estimate, color: str, marker: str, face: str
) -> None:
    if estimate.value is None:
        return
    low, high = axes.get_xlim()
    start, end = _interval(estimate)
    if max(start, low) < min(end, high):
        axes.plot([max(start, low), min(end, high)], [place, place], color=color, linewidth=1.4)
    shown = min(max(estimate.value, low), high)
    outside = "<" if estimate.value < low else ">" if estimate.value > high else marker
    axes.plot([shown], [place], outside, color=color, mfc=face, markersize=5, clip_on=False)


def _recovery_limits(conjugations: Sequence[Conjugated]) -> tuple[float, float]:
    values = [-0.1, 1.1]
    for one in conjugations:
        for estimate in (one.recovery, one.net_recovery):
            values += [] if estimate.value is None else [estimate.value - 0.05, estimate.value]
            values += list(estimate.ci95 or ())
    return max(min(values), -0.8), min(max(values), 1.6)


def _step_axis(axes: Axes, n_steps: int) -> None:
    """Show the first steps as wide as the last: most happens there."""
    axes.set_xscale("function", functions=(lambda x: abs(x) ** 0.5, lambda root: root**2))
    axes.set_xlim(0, n_steps)
    axes.set_xticks([round(n_steps * share / 25) for share in (0, 1, 4, 9, 16, 25)])
    axes.xaxis.set_minor_locator(NullLocator())


def _whole_numbers(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _pen(one: ByPosition) -> str:
    return one.name if one.kind == "exact" else one.kind


def _handle(pen: str, label: str) -> Line2D:
    found = PENS[pen]
    return Line2D([], [], color=found.color, linestyle=found.style, linewidth=1.8, label=label)


def _mark(
    marker: str, label: str, *, color: str = INK, markersize: float = 5, **style: Any
) -> Line2D:
    style |= {"marker": marker, "markersize": markersize, "linestyle": ""}
    return Line2D([], [], color=color, label=label, **style)


def _best_name(results: LabResults) -> str:
    """Return the name of the largest symmetry ensemble."""
    return results.best.name if results.best else "the ensemble"


def _short(name: str, sheet: Sheet) -> str:
    return clipped(name, 16 if sheet.is_narrow else 28)


def _value(estimate: Estimate) -> float:
    """Return a number that can be drawn; what is undefined is not."""
    return math.nan if estimate.value is None else estimate.value


def _interval(estimate: Estimate) -> tuple[float, float]:
    """Return the ends of an interval that can be drawn; without one, the value twice."""
    return estimate.ci95 or (_value(estimate), _value(estimate))


def _ends(lines: Sequence[ByPosition]) -> str:
    return "; ".join(
        f"{one.name}: {number(one.values[0], 3)} and {number(one.values[-1], 3)}" for one in lines
    )


def _text(estimate: Estimate) -> str:
    return f"{ratio(estimate.value, 3)} {interval(estimate.ci95, 3)}".rstrip()
