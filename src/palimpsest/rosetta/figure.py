"""The curve over tuning steps: when English goes, when the others follow, what intrudes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from palimpsest.report.diagnosis.charts import new_figure
from palimpsest.report.figure import (
    BASE,
    BROKEN,
    INK,
    INTRUDED,
    MUTED,
    RIGHT,
    TUNED,
    Drawing,
)
from palimpsest.rosetta.manifest import CurvePoint, Manifest, mean_shares

_COLOURS = (TUNED, BASE, RIGHT, INTRUDED, INK, BROKEN, MUTED)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_TWO_COLUMNS_FROM_INCHES = 6


class _Panel(NamedTuple):
    title: str
    kind: str
    """``in-context`` or ``instruction`` cells."""
    field: Literal["right", "intruded"]


_PANELS = (
    _Panel("In-context tasks: right", "in-context", "right"),
    _Panel("In-context tasks: intruded", "in-context", "intruded"),
    _Panel("Instructions: right", "instruction", "right"),
)


def curve_drawing(manifest: Manifest) -> Drawing:
    """Return the figure of a pair's tuning."""
    points = manifest.curve
    n = next(iter(points[0].table["en"].values())).n
    title = "What English tuning does to each language, by tuning steps"
    ends = "; ".join(
        f"{language}: {mean_shares(points[0].table[language]).right:.0%} before tuning, "
        f"{mean_shares(points[-1].table[language]).right:.0%} at its end"
        for language in points[0].table
    )
    return Drawing(
        name="tuning-curve",
        title=title,
        caption=f"Means over the cells, {n} held-out prompts a cell and language. The dashed line "
        f"is the tuned model, chosen at step {manifest.chosen_step} by the loss on held-out "
        "instructions alone. Where English is low and another language high, a conjugation "
        "reads the ability back; where all are low, it has nothing to read.",
        alternative=f"Share of right in-context answers. {ends}.",
        draw=lambda width: _draw(title, points, manifest.chosen_step, width),
    )


def _draw(title: str, points: Sequence[CurvePoint], chosen: int, width: float) -> Figure:
    wide = width >= _TWO_COLUMNS_FROM_INCHES
    legend = [
        Line2D([], [], color=colour, marker=marker, markersize=3, label=language)
        for language, colour, marker in zip(points[0].table, _COLOURS, _MARKERS, strict=False)
    ]
    figure = new_figure(title, width, 3.0 if wide else 7.5, legend=legend)
    rows, columns = (1, len(_PANELS)) if wide else (len(_PANELS), 1)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, panel in zip(panels, _PANELS, strict=True):
        _draw_panel(axes, panel, points, chosen)
    panels[0].set_ylabel("share of answers, %")
    return figure


def _draw_panel(axes: Axes, panel: _Panel, points: Sequence[CurvePoint], chosen: int) -> None:
    steps = [point.step for point in points]
    styles = zip(points[0].table, _COLOURS, _MARKERS, strict=False)
    for language, colour, marker in styles:
        shares = [
            100 * getattr(mean_shares(point.table[language], kind=panel.kind), panel.field)
            for point in points
        ]
        heavy = language == "en"
        axes.plot(
            steps,
            shares,
            color=colour,
            marker=marker,
            markersize=3,
            markevery=max(1, len(steps) // 8),
            linewidth=2.2 if heavy else 1.1,
            zorder=3 if heavy else 2,
        )
    axes.axvline(chosen, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set(title=panel.title, xlabel="tuning steps", ylim=(-3, 103))
    axes.grid(axis="y")
