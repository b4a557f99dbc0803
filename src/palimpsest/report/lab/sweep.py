"""The figure of a sweep: one measure over one key, runs, means and intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from palimpsest.report.figure import BASE, BROKEN, INK, INTRUDED, RIGHT, TUNED, Drawing, Sheet
from palimpsest.stats import Line

_PENS = tuple(zip((TUNED, BASE, RIGHT, INTRUDED, INK, BROKEN), "oDs^vP", strict=True))
"""Colours and marks; as many lines are told apart."""


def sweep_drawing(name: str, meaning: str, key: str, lines: Sequence[Line]) -> Drawing:
    """Return the figure of one measure over one key.

    Args:
        name: Of its files.
        meaning: What the measure is.
        key: Along the horizontal axis.
        lines: One for each group of runs.
    """
    # Values are steps of a plan, not measurements: evenly spaced, whatever they are.
    values = _ordered(point.x for line in lines for point in line.points)

    def draw(sheet: Sheet) -> None:
        legend = [
            Line2D([], [], color=color, marker=marker, markersize=5, label=line.name)
            for line, (color, marker) in zip(lines, _PENS, strict=False)
            if line.name
        ]
        axes = sheet.axes(2.8, legend, narrow_columns=1)
        for number, line in enumerate(lines):
            color, marker = _PENS[number % len(_PENS)]
            shift = 0.12 * (number - (len(lines) - 1) / 2)
            points = sorted(line.points, key=lambda point: values.index(point.x))
            places = [values.index(point.x) + shift for point in points]
            axes.plot(places, [p.mean for p in points], marker=marker, color=color, markersize=5)
            for place, point in zip(places, points, strict=True):
                axes.plot([place, place], [point.low, point.high], color=color, linewidth=1.4)
                beside = [place + 0.05] * len(point.values)
                axes.plot(beside, point.values, ".", color=color, markersize=4)
        axes.set_xticks(range(len(values)), [str(value) for value in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.set_xlabel(key)
        axes.grid(visible=True, axis="both")

    title = f"{meaning}, over {key}"
    return Drawing(
        name=name,
        title=title[0].upper() + title[1:],
        caption="Small marks are single runs; the line is their mean, the bar its 95 % interval "
        "over runs (Student's t).",
        alternative="; ".join(
            f"{line.name} {point.x}: {point.mean:.3f}" for line in lines for point in line.points
        ),
        draw=draw,
    )


def _short(number: float) -> str:
    """Return a number as it fits under a tick: whole thousands are written as 20k."""
    return f"{number / 1000:.0f}k" if number and number % 1000 == 0 else f"{number:.0f}"


def growth_drawing(
    name: str, title: str, key: str, panels: Mapping[str, Sequence[Line]]
) -> Drawing:
    """Return the figure of several measures over one that grows, such as steps.

    Args:
        name: Of its files.
        title: What it shows.
        key: Along the horizontal axes, which are logarithmic.
        panels: Heading to the lines of a panel, each with its name.
    """

    def draw(sheet: Sheet) -> None:
        columns = 1 if sheet.is_narrow else len(panels)
        found = sheet.panels(len(panels), 3.0, n_columns=columns)
        for axes, (heading, lines) in zip(found, panels.items(), strict=True):
            for line, (color, marker) in zip(lines, _PENS, strict=False):
                points = sorted(line.points)
                places = [point.x for point in points]
                means = [point.mean for point in points]
                axes.plot(places, means, marker=marker, color=color, markersize=5, label=line.name)
                for point in points:
                    runs = [point.x] * len(point.values)
                    axes.plot(runs, point.values, ".", color=color, markersize=3)
            axes.set_xscale("log")
            places = sorted({point.x for line in lines for point in line.points})
            axes.set_xticks(places, list(map(_short, places)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_title(heading, loc="left", size=9)
            axes.set_xlabel(key)
            axes.grid(visible=True, axis="both")
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.24), fontsize=7.5, borderpad=0)

    return Drawing(
        name=name,
        title=title,
        caption="Small marks are single runs; the lines are their means.",
        alternative="; ".join(
            f"{line.name} {point.x:.0f}: {point.mean:.3f}"
            for lines in panels.values()
            for line in lines
            for point in line.points
        ),
        draw=draw,
    )


def _ordered(values: Iterable[Any]) -> list[Any]:
    """Return each value once: numbers by size, anything else in the order of the plan."""
    found = list(dict.fromkeys(values))
    return sorted(found) if all(isinstance(value, int | float) for value in found) else found
