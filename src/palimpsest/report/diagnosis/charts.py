"""How the figures are drawn. They show what the results hold and compute nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from palimpsest.report.diagnosis.tables import Row, table_rows
from palimpsest.report.figure import (
    BAND,
    BASE,
    BROKEN,
    INTRUDED,
    MUTED,
    NARROW_INCHES,
    ON_DARK,
    ON_LIGHT,
    RIGHT,
    TUNED,
)
from palimpsest.report.text import clipped, conjugation_label, visible

if TYPE_CHECKING:
    from palimpsest.records.results import Arm, Cell, ConjugationResult

_OUTCOMES = (
    ("right", RIGHT, ON_DARK),
    ("intruded", INTRUDED, ON_LIGHT),
    ("broken", BROKEN, ON_LIGHT),
)
"""Name, colour, and the colour of text on it."""

_MODELS = (("base", BASE, "o", -0.15), ("tuned", TUNED, "D", 0.15))
"""Role, colour, marker, and how far its mark is moved off the row."""


def new_figure(
    title: str,
    width: float,
    body_height: float,
    *,
    legend: Sequence[Artist] = (),
    n_legend_columns: int | None = None,
) -> Figure:
    """Return an empty figure with its title, and a legend under it, at the top left.

    Args:
        title: Wrapped to the width.
        width: In inches.
        body_height: What is left for the axes, in inches.
        legend: Labelled artists.
        n_legend_columns: All in one line if left out.
    """
    n_columns = n_legend_columns or max(1, len(legend))
    lines = textwrap.wrap(title, round(width * 11.5))
    head = 0.14 + 0.17 * len(lines)
    height = head + (0.05 + 0.17 * -(-len(legend) // n_columns) if legend else 0) + body_height
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(  # type: ignore[union-attr]
        w_pad=0.06,
        h_pad=0.06,
        rect=(0, 0, 1, body_height / height),  # type: ignore[call-arg]
    )
    x, y = 0.06 / width, 1 - 0.08 / height
    text = figure.text(x, y, "\n".join(lines), weight="bold", size=10, va="top", linespacing=1.25)
    text.set_gid("title")
    text.set_in_layout(False)
    if legend:
        figure.legend(
            handles=legend,
            loc="upper left",
            bbox_to_anchor=(x, 1 - head / height),
            ncols=n_columns,
            borderpad=0,
            handlelength=1.1,
        ).set_in_layout(False)
    return figure


def draw_accuracy(
    title: str, rows: Sequence[Row], width: float, *, chance: float | None = None
) -> Figure:
    """Two marks with error bars a row, base and tuned accuracy; a dashed line is guessing."""
    legend = [
        Line2D([], [], color=color, marker=marker, linestyle="", markersize=5.5, label=role)
        for role, color, marker, _ in _MODELS
    ]
    figure = new_figure(title, width, 0.5 + 0.36 * len(rows), legend=legend)
    axes = figure.add_subplot()
    for role, color, marker, offset in _MODELS:
        arms: list[Arm] = [getattr(row, role) for row in rows]
        axes.errorbar(
            [arm.accuracy for arm in arms],
            [place + offset for place in range(len(rows))],
            xerr=_arm_errors(arms),
            fmt=marker,
            color=color,
            markersize=5.5,
            capsize=2.5,
            elinewidth=1.4,
        )
    _name_rows(axes, [row.name for row in rows], width)
    axes.axhspan(-0.5, 0.5, color=BAND, linewidth=0, zorder=0)
    _percent_axis(axes, "accuracy")
    axes.set_xlim(-0.02, 1.02)
    if chance is not None:
        axes.axvline(chance, color=MUTED, linewidth=1, linestyle="--", zorder=1)
    return figure


def draw_recovery(title: str, conjugations: Sequence[ConjugationResult], width: float) -> Figure:
    """One mark with an error bar a row; an undefined recovery is said in words."""
    figure = new_figure(title, width, 0.5 + 0.32 * len(conjugations))
    axes = figure.add_subplot()
    low, high = _recovery_limits(conjugations)
    axes.set_xlim(low, high)
    for place, result in enumerate(conjugations):
        if result.recovery is None:
            note = "undefined: no clear forgetting" if width > NARROW_INCHES else "undefined"
            axes.text(max(low, 0) + 0.02, place, note, va="center", color=MUTED, style="italic")
        else:
            _draw_recovered(axes, place, result.recovery, result.recovery_ci95)
    for reference in (0, 1):
        axes.axvline(reference, color=MUTED, linewidth=1, zorder=1)
    _name_rows(axes, [result.name for result in conjugations], width)
    axes.set_xlabel("recovery (0: nothing, 1: all of the forgetting)")
    return figure


def _draw_recovered(
    axes: Axes, place: int, recovery: float, interval: tuple[float, float] | None
) -> None:
    low, high = axes.get_xlim()
    if interval is not None:
        start, end = max(interval[0], low), min(interval[1], high)
        axes.plot([start, end], [place, place], color=TUNED, linewidth=1.4)
        for edge, limit, arrow in ((interval[0], start, "<"), (interval[1], end, ">")):
            marker = "|" if edge == limit else arrow
            axes.plot([limit], [place], marker, color=TUNED, markersize=5, clip_on=False)
    if low <= recovery <= high:
        axes.plot([recovery], [place], "D", color=TUNED, markersize=5, clip_on=False)


def _recovery_limits(conjugations: Sequence[ConjugationResult]) -> tuple[float, float]:
    """Show 0 to 1 and what lies around it, but never so much that this range shrinks away."""
    values = [-0.1, 1.1]
    for result in conjugations:
        values += [] if result.recovery is None else [result.recovery]
        low, high = result.recovery_ci95 or (0.0, 1.0)
        values += [low - 0.05, high + 0.05]
    return max(min(values), -1.0), min(max(values), 2.0)


def draw_forgetting(title: str, cells: Sequence[Cell], width: float) -> Figure:
    """One mark with an error bar a cell, base minus tuned."""
    figure = new_figure(title, width, 0.5 + 0.28 * len(cells))
    axes = figure.add_subplot()
    falls = [cell.plain.forgetting for cell in cells]
    ends = [cell.plain.forgetting_ci95 for cell in cells]
    axes.errorbar(
        falls,
        range(len(cells)),
        xerr=[
            [max(0.0, fall - low) for fall, (low, _) in zip(falls, ends, strict=True)],
            [max(0.0, high - fall) for fall, (_, high) in zip(falls, ends, strict=True)],
        ],
        fmt="D",
        color=TUNED,
        markersize=5,
        capsize=2.5,
        elinewidth=1.4,
    )
    axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
    _name_rows(axes, [cell.name for cell in cells], width)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    axes.set_xlabel("forgetting, points")
    return figure


def draw_outcomes(title: str, rows: Sequence[Row], width: float) -> Figure:
    """Two stacked bars a row, with their percentages."""
    figure = new_figure(title, width, 0.5 + 0.62 * len(rows), legend=_outcome_legend())
    axes = figure.add_subplot()
    for index, row in enumerate(rows):
        axes.text(0, 3 * index + 0.05, _short(row.name, width), weight="bold", va="center")
    arms = [arm for row in rows for arm in (row.base, row.tuned)]
    places = [3 * index + below for index in range(len(rows)) for below in (0.85, 1.75)]
    _draw_shares(axes, arms, places, 0.8, label_from=0.45 / width)
    axes.set_yticks(places, ["base", "tuned"] * len(rows))
    axes.set_ylim(3 * len(rows) - 0.6, -0.6)
    axes.grid(visible=False)
    _percent_axis(axes, "share of answers")
    return figure


def draw_cells(title: str, cells: Sequence[Cell], width: float) -> Figure:
    """The same bars, one small panel a cell."""
    tables = [table_rows(cell.plain, cell.conjugations) for cell in cells]
    names = list(dict.fromkeys(row.name for table in tables for row in table))
    n_columns = min(len(cells), 4 if width > NARROW_INCHES else 2)
    n_lines = -(-len(cells) // n_columns)
    body_height = 0.25 + n_lines * (0.45 + 0.2 * len(names))
    figure = new_figure(title, width, body_height, legend=_outcome_legend())
    panels = figure.subplots(n_lines, n_columns, sharex=True, sharey=True, squeeze=False)
    for panel in panels.flat[len(cells) :]:
        panel.set_visible(False)
    for cell, table, panel in zip(cells, tables, panels.flat, strict=False):
        places = [names.index(row.name) for row in table]
        _draw_shares(panel, [row.base for row in table], [at - 0.19 for at in places], 0.34)
        _draw_shares(panel, [row.tuned for row in table], [at + 0.19 for at in places], 0.34)
        panel.set_title(clipped(visible(cell.name), round(width * 10 / n_columns)))
        panel.grid(visible=False)
        _name_rows(panel, names, width)
        _percent_axis(panel, "", step=0.5)
    figure.supxlabel("share of answers; upper bar base, lower bar tuned", size=9)
    return figure


def _draw_shares(
    axes: Axes,
    arms: Sequence[Arm],
    places: Sequence[float],
    height: float,
    *,
    label_from: float = 2.0,
) -> None:
    """Stack the three shares; write those of at least ``label_from`` into their segments."""
    starts = [0.0] * len(arms)
    for name, color, on_color in _OUTCOMES:
        shares = [arm.accuracy if name == "right" else getattr(arm, name) for arm in arms]
        axes.barh(places, shares, left=starts, height=height, color=color)
        for place, start, share in zip(places, starts, shares, strict=True):
            if share >= label_from:
                style: dict[str, Any] = {"ha": "center", "va": "center", "size": 8}
                axes.text(start + share / 2, place, f"{100 * share:.0f}", color=on_color, **style)
        starts = [start + share for start, share in zip(starts, shares, strict=True)]


def _outcome_legend() -> list[Artist]:
    return [Patch(color=color, label=name) for name, color, _ in _OUTCOMES]


def _name_rows(axes: Axes, names: Sequence[str], width: float) -> None:
    axes.set_yticks(range(len(names)), [_short(name, width) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)


def _percent_axis(axes: Axes, label: str, *, step: float = 0.25) -> None:
    axes.set_xlim(0, 1)
    axes.set_xticks([index * step for index in range(round(1 / step) + 1)])
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.set_xlabel(label)


def _short(name: str, width: float) -> str:
    return clipped(conjugation_label(name), 28 if width > NARROW_INCHES else 14)


def _arm_errors(arms: Sequence[Arm]) -> Any:
    below = [max(0.0, arm.accuracy - arm.ci95[0]) for arm in arms]
    above = [max(0.0, arm.ci95[1] - arm.accuracy) for arm in arms]
    return [below, above]
