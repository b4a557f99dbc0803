"""Figures of a trace: accuracy over the steps of a training, and the target's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from palimpsest.report.figure import (
    BAND,
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
)
from palimpsest.report.text import (
    clipped,
    conjugation_label,
    percent,
    percent_interval,
)

if TYPE_CHECKING:
    from palimpsest.records import AccuracyCurve, Estimate, Trace

TRACE_FIGURES: FigureRegistry[Trace] = FigureRegistry()

PLAIN = "identity"

MOST_DRAWN = 5
"""Conjugations that get a line of their own; more could not be told apart."""


class _Pen(NamedTuple):
    color: str
    marker: str
    width: float = 1.3


_PLAIN_PEN = _Pen(TUNED, "D", 2.2)
_PENS = (
    _Pen(RIGHT, "^"),
    _Pen(BASE, "s"),
    _Pen(INTRUDED, "v"),
    _Pen(INK, "P"),
    _Pen(BROKEN, "X"),
)


@TRACE_FIGURES.register
def accuracy(found: Trace) -> Drawing:
    """Accuracy over the steps, plainly and under each conjugation, with what the trace shows."""
    plain = next(curve for curve in found.curves if curve.via == PLAIN)
    others = drawn_curves(found)

    def draw(sheet: Sheet) -> None:
        legend = [_handle("plain", _PLAIN_PEN)]
        legend += [
            _handle(clipped(conjugation_label(curve.via), 16), pen)
            for curve, pen in zip(others, _PENS, strict=False)
        ]
        axes = sheet.axes(3.2 + 0.17 * len(_reading(found, others)), legend, narrow_columns=3)
        for curve, pen in zip(others, _PENS, strict=False):
            _draw_curve(axes, curve.steps, curve.accuracy, pen)
        _draw_curve(axes, plain.steps, plain.accuracy, _PLAIN_PEN)
        _draw_marks(axes, found, sheet)
        _draw_windows(axes, found, others)
        axes.set(xlabel="steps of the training", ylabel="right answers")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        _step_axis(axes, plain.steps)

    said = (
        f"{conjugation_label(curve.via)}: "
        + ", ".join(
            f"step {step:,} {percent(one.value)} % {percent_interval(one.ci95)}"
            for step, one in zip(curve.steps, curve.accuracy, strict=True)
        )
        for curve in (plain, *others)
    )
    left_out = len(found.curves) - 1 - len(others)
    more = f" Not drawn: {left_out} that read for a shorter time." if left_out else ""
    return Drawing(
        name="trace",
        title="Right answers over the training, plainly and under conjugations",
        caption="Bands are 95 % intervals that hold together over all steps of a line. Dotted: the "
        "last checkpoint at which a fall of the margin is excluded. Dashed: the first clear fall. "
        "Bars at the foot: where a conjugation still brings more than half of it back." + more,
        alternative=f"{' '.join(found.summary)} {'; '.join(said)}.",
        draw=draw,
    )


@TRACE_FIGURES.register
def target(found: Trace) -> Drawing | None:
    """Score on the target over the steps."""
    scores = [one.target for one in found.checkpoints]
    if found.target is None or found.base_target is None or any(one is None for one in scores):
        return None
    steps = [0, *(one.step for one in found.checkpoints)]
    values = [found.base_target, *(one for one in scores if one is not None)]
    text = found.target.unit == "bits a byte"

    def draw(sheet: Sheet) -> None:
        axes = sheet.axes(1.9)
        _draw_curve(axes, steps, values, _Pen(INK, "o", 1.6))
        axes.set(xlabel="steps of the training", ylabel="bits a byte" if text else "right answers")
        if not text:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        _step_axis(axes, steps, shares=not text)

    def said(one: Estimate) -> str:
        return f"{one.value:.3f}" if text else f"{percent(one.value)} %"

    listed = ", ".join(
        f"step {step:,} {said(one)}" for step, one in zip(steps, values, strict=True)
    )
    better = "Lower is better." if text else "Higher is better."
    return Drawing(
        name="trace-target",
        title="What the training is for, over its steps",
        caption=f"{better} The band is a 95 % interval that holds over all steps together.",
        alternative=f"Target: {listed}.",
        draw=draw,
    )


def drawn_curves(found: Trace) -> list[AccuracyCurve]:
    """Return the conjugations that are drawn: those that read longest, then highest at the end."""
    lengths = {window.via: len(window.steps) for window in found.windows}
    others = [curve for curve in found.curves if curve.via != PLAIN]
    ranked = sorted(
        others,
        key=lambda curve: (-lengths.get(curve.via, 0), -(curve.accuracy[-1].value or 0.0)),
    )
    return ranked[:MOST_DRAWN]


def _reading(found: Trace, curves: Sequence[AccuracyCurve]) -> list[tuple[int, list[int]]]:
    """Return the windows of the drawn conjugations that have any, by the place of their pen."""
    steps = {window.via: window.steps for window in found.windows}
    return [(at, steps[curve.via]) for at, curve in enumerate(curves) if steps.get(curve.via)]


def _draw_curve(axes: Axes, steps: Sequence[int], values: Sequence[Estimate], pen: _Pen) -> None:
    axes.plot(
        steps,
        [one.value or 0.0 for one in values],
        color=pen.color,
        marker=pen.marker,
        markersize=4,
        linewidth=pen.width,
        zorder=3,
    )
    ends = [one.ci95 or (one.value or 0.0,) * 2 for one in values]
    low, high = zip(*ends, strict=True)
    axes.fill_between(steps, low, high, color=pen.color, alpha=0.14, linewidth=0, zorder=2)


def _draw_marks(axes: Axes, found: Trace, sheet: Sheet) -> None:
    last, first = found.last_kept, found.first_clear_fall
    right = found.checkpoints[-1].step
    margin = percent(found.margin).removesuffix(".0")
    if last is not None and first is not None:
        axes.axvspan(last, first, color=BAND, linewidth=0, zorder=0)
    marks = (
        (last, ":", f"no fall of {margin} points" if not sheet.is_narrow else "kept"),
        (first, (0, (4, 3)), "first clear fall"),
    )
    for place, (step, style, text) in enumerate(marks):
        if step is None:
            continue
        axes.axvline(step, color=MUTED, linewidth=1.1, linestyle=style, zorder=1)
        leftwards = step > 0.6 * right
        axes.annotate(
            text,
            (step, 1.13 - 0.075 * place),
            xytext=(-3 if leftwards else 3, 0),
            textcoords="offset points",
            ha="right" if leftwards else "left",
            va="top",
            size=8,
            color=MUTED,
        )


def _draw_windows(axes: Axes, found: Trace, curves: Sequence[AccuracyCurve]) -> None:
    """Draw a bar at the foot for each window, with a gap where a step in between fails."""
    order = [one.step for one in found.checkpoints]
    below = -0.04
    for at, steps in _reading(found, curves):
        for start, end in _runs(steps, order):
            axes.plot(
                [start, end],
                [below] * 2,
                color=_PENS[at].color,
                linewidth=4,
                solid_capstyle="round",
                marker="o",
                markersize=3,
            )
        below -= 0.045
    axes.set_ylim(below - 0.02, 1.15)


def _runs(steps: Sequence[int], order: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and the last of each run of checkpoints that follow one another.

    Example:
        >>> _runs([20, 40, 80], [20, 40, 60, 80])
        [(20, 40), (80, 80)]
    """
    runs: list[tuple[int, int]] = []
    for step in steps:
        before = order[order.index(step) - 1] if order.index(step) else None
        if runs and runs[-1][1] == before:
            runs[-1] = (runs[-1][0], step)
        else:
            runs.append((step, step))
    return runs


def _step_axis(axes: Axes, steps: Sequence[int], *, shares: bool = True) -> None:
    axes.set_xlim(-0.01 * steps[-1], 1.02 * steps[-1])
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(visible=True, axis="both")
    if shares:
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])


def _handle(label: str, pen: _Pen) -> Line2D:
    return Line2D(
        [], [], color=pen.color, marker=pen.marker, markersize=5, linewidth=pen.width, label=label
    )
