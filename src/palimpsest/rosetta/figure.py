"""Figure of a pair's tuning: when English goes, when the others follow, what intrudes."""

from __future__ import annotations

from typing import Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from palimpsest.report import (
    BASE,
    BROKEN,
    INK,
    INTRUDED,
    MUTED,
    RIGHT,
    TUNED,
    Drawing,
    Sheet,
)
from palimpsest.rosetta.manifest import Manifest, mean_shares

_PENS = tuple(zip((TUNED, BASE, RIGHT, INTRUDED, INK, BROKEN, MUTED), "os^DvPX", strict=True))
"""Colour and mark of each language."""


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

    def draw(sheet: Sheet) -> None:
        legend = [
            Line2D([], [], color=color, marker=marker, markersize=3, label=language)
            for language, (color, marker) in zip(points[0].table, _PENS, strict=False)
        ]
        n_columns, height = (1, 2.5) if sheet.is_narrow else (len(_PANELS), 3.0)
        panels = sheet.panels(len(_PANELS), height, legend, n_columns=n_columns)
        for axes, panel in zip(panels, _PANELS, strict=True):
            _draw_panel(axes, panel, manifest)
        panels[0].set_ylabel("share of answers, %")

    ends = "; ".join(
        f"{language}: {mean_shares(points[0].table[language]).right:.0%} before tuning, "
        f"{mean_shares(points[-1].table[language]).right:.0%} at its end"
        for language in points[0].table
    )
    return Drawing(
        name="tuning-curve",
        title="What English tuning does to each language, by tuning steps",
        caption=f"Means over the cells, {n} held-out prompts a cell and language. The dashed line "
        f"is the tuned model, chosen at step {manifest.chosen_step} by the loss on held-out "
        "instructions alone. Where English is low and another language high, a conjugation "
        "reads the ability back; where all are low, it has nothing to read.",
        alternative=f"Share of right in-context answers. {ends}.",
        draw=draw,
    )


def _draw_panel(axes: Axes, panel: _Panel, manifest: Manifest) -> None:
    points = manifest.curve
    steps = [point.step for point in points]
    for language, (color, marker) in zip(points[0].table, _PENS, strict=False):
        shares = [
            100 * getattr(mean_shares(point.table[language], kind=panel.kind), panel.field)
            for point in points
        ]
        heavy = language == "en"
        axes.plot(
            steps,
            shares,
            color=color,
            marker=marker,
            markersize=3,
            markevery=max(1, len(steps) // 8),
            linewidth=2.2 if heavy else 1.1,
            zorder=3 if heavy else 2,
        )
    axes.axvline(manifest.chosen_step, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set(title=panel.title, xlabel="tuning steps", ylim=(-3, 103))
    axes.grid(axis="y")
