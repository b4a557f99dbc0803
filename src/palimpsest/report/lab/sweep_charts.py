"""How the figures of a sweep are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from palimpsest.report.diagnosis.charts import new_figure
from palimpsest.report.figure import BASE, BROKEN, INK, INTRUDED, NARROW_INCHES, RIGHT, TUNED
from palimpsest.report.lab.lines import both_grids

_COLORS = (TUNED, BASE, RIGHT, INTRUDED, INK, BROKEN)
_MARKERS = ("o", "D", "s", "^", "v", "P")


class Point(NamedTuple):
    """The runs at one value of the key."""

    x: Any
    mean: float
    low: float
    high: float
    values: list[float]


class Line(NamedTuple):
    """The points that belong together."""

    name: str
    points: list[Point]


def draw_sweep(title: str, key: str, lines: Sequence[Line], width: float) -> Figure:
    """One measure over one key: single runs, their means, and the intervals of these.

    Args:
        title: What is shown.
        key: Along the horizontal axis.
        lines: At most six are told apart.
        width: In inches.
    """
    legend = [
        Line2D([], [], color=color, marker=marker, markersize=5, label=line.name)
        for line, color, marker in zip(lines, _COLORS, _MARKERS, strict=False)
        if line.name
    ]
    columns = len(legend) if width > NARROW_INCHES else 1
    figure = new_figure(title, width, 2.8, legend=legend, n_legend_columns=columns)
    axes = figure.add_subplot()
    values = _ordered(point.x for line in lines for point in line.points)
    # Values are steps of a plan, not measurements: evenly spaced, whatever they are.
    for number, line in enumerate(lines):
        color, marker = _COLORS[number % 6], _MARKERS[number % 6]
        shift = 0.12 * (number - (len(lines) - 1) / 2)
        points = sorted(line.points, key=lambda point: values.index(point.x))
        places = [values.index(point.x) + shift for point in points]
        means = [point.mean for point in points]
        axes.plot(places, means, marker=marker, color=color, markersize=5)
        for place, point in zip(places, points, strict=True):
            axes.plot([place, place], [point.low, point.high], color=color, linewidth=1.4)
            axes.plot(
                [place + 0.05] * len(point.values), point.values, ".", color=color, markersize=4
            )
    axes.set_xticks(range(len(values)), [str(value) for value in values])
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_xlabel(key)
    both_grids(axes)
    return figure


def _ordered(values: Iterable[Any]) -> list[Any]:
    """Return each value once: numbers by size, anything else in the order of the plan."""
    found = list(dict.fromkeys(values))
    return sorted(found) if all(isinstance(value, int | float) for value in found) else found
