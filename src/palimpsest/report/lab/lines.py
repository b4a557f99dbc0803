"""Lines, bands, panels and axes that the figures of the laboratory share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from palimpsest.report.diagnosis.charts import new_figure
from palimpsest.report.figure import BASE, BROKEN, INK, MUTED, NARROW_INCHES, RIGHT, TUNED
from palimpsest.report.text import clipped

if TYPE_CHECKING:
    from palimpsest.records.lab_results import ByPosition, Estimate, LabResults, Losses


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


def panels_of(
    title: str,
    width: float,
    n: int,
    legend: Sequence[Any] = (),
    *,
    sharey: bool = False,
    height: float = 2.4,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``n`` panels, as many beside each other as the width allows."""
    n_columns = 1 if width <= NARROW_INCHES and n <= 2 else min(n, 3 if width > 4 else 2)
    n_lines = -(-n // n_columns)
    body_height = 0.4 + height * n_lines
    figure = new_figure(
        title, width, body_height, legend=legend, n_legend_columns=columns(legend, width)
    )
    found = figure.subplots(n_lines, n_columns, sharex=n > 2, sharey=sharey, squeeze=False)
    for panel in found.flat[n:]:
        panel.set_visible(False)
    return figure, list(found.flat[:n])


def columns(legend: Sequence[Any], width: float) -> int:
    """Return in how many columns a legend fits."""
    return max(1, len(legend)) if width > NARROW_INCHES else 2


def draw_line(axes: Axes, one: ByPosition) -> None:
    """Draw a quantity over the number of exemplars, with its interval."""
    pen = PENS[pen_name(one)]
    values = [math.nan if value is None else value for value in one.values]
    axes.plot(range(len(values)), values, color=pen.color, linestyle=pen.style, linewidth=pen.width)
    if one.low:
        low, high = (_numbers(end) for end in (one.low, one.high))
        axes.fill_between(range(len(values)), low, high, color=pen.color, alpha=0.16, linewidth=0)


def draw_band(axes: Axes, curve: Sequence[Losses], name: str, pen: Pen) -> None:
    """Draw one of the losses over the steps of fine-tuning, with its interval."""
    found: list[Estimate] = [getattr(one, name) for one in curve]
    steps = [one.step for one in curve]
    axes.plot(steps, [value_of(one) for one in found], "o-", color=pen.color, markersize=3)
    ends = [one.ci95 or (value_of(one), value_of(one)) for one in found]
    axes.fill_between(
        steps, [end[0] for end in ends], [end[1] for end in ends], color=pen.color, alpha=0.16,
        linewidth=0,
    )  # fmt: skip


def step_axis(axes: Axes, steps: Sequence[int]) -> None:
    """Show the first steps as wide as the last: most happens there."""
    axes.set_xscale("function", functions=(_root, _square))
    axes.set_xlim(0, steps[-1])
    wanted = [steps[-1] * share for share in (0, 1 / 25, 4 / 25, 9 / 25, 16 / 25, 1)]
    axes.set_xticks([round(step) for step in wanted])
    axes.xaxis.set_minor_locator(NullLocator())


def _root(values: Any) -> Any:
    return abs(values) ** 0.5


def _square(values: Any) -> Any:
    return values**2


def pen_name(one: ByPosition) -> str:
    """Return which pen a line is drawn with."""
    return one.name if one.kind == "exact" else one.kind


def handle(pen: str, label: str) -> Line2D:
    """Return a line for the legend."""
    found = PENS[pen]
    return Line2D([], [], color=found.color, linestyle=found.style, linewidth=1.8, label=label)


def mark(marker: str, label: str) -> Line2D:
    """Return a mark for the legend."""
    return Line2D([], [], color=INK, marker=marker, linestyle="", markersize=5, label=label)


def whole_numbers(axes: Axes) -> None:
    """Put ticks on the horizontal axis at whole numbers only."""
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def both_grids(axes: Axes) -> None:
    """Draw grid lines both ways."""
    axes.grid(visible=True, axis="both")


def best_name(results: LabResults) -> str:
    """Return the name of the largest symmetry ensemble."""
    return results.best.name if results.best else "the ensemble"


def errors(estimates: Iterable[Estimate]) -> Any:
    """Return how far intervals reach below and above."""
    ends = [(one, one.ci95 or (value_of(one), value_of(one))) for one in estimates]
    below = [max(0.0, value_of(one) - low) for one, (low, _) in ends]
    above = [max(0.0, high - value_of(one)) for one, (_, high) in ends]
    return [below, above]


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def value_of(estimate: Estimate) -> float:
    """Return a number that can be drawn; what is undefined is not."""
    return math.nan if estimate.value is None else estimate.value


def short(name: str, width: float) -> str:
    """Return a name that fits."""
    return clipped(name, 28 if width > NARROW_INCHES else 16)
