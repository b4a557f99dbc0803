"""The page of a history: verdicts and figures over successive runs, in one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from palimpsest.report.figure import (
    BASE,
    BROKEN,
    INTRUDED,
    MUTED,
    RIGHT,
    TUNED,
    Drawing,
    FigureRegistry,
    Sheet,
    draw_intervals,
)
from palimpsest.report.page import PageFigure, render
from palimpsest.report.text import (
    clipped,
    how_many,
    p_value,
    percent,
    percent_interval,
    relation,
    visible,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from palimpsest.records import History, HistoryFigures, Verdict

HISTORY_FIGURES: FigureRegistry[History] = FigureRegistry()

MAX_PANELS = 12
"""More cells than this get no small multiples."""

MAX_RUNS = 60
"""Of more runs the newest are drawn; the table and ``history.json`` have all."""

_MOST_NAMED = 12
"""Of more runs only every second, third, … is named below the axis."""

_PENS: dict[Verdict, tuple[str, str]] = {
    "kept": (RIGHT, "o"),
    "suppressed": (INTRUDED, "^"),
    "lost": (TUNED, "D"),
    "inconclusive": (BROKEN, "s"),
}
"""Colour and marker of each verdict."""


@HISTORY_FIGURES.register
def falls(found: History) -> Drawing:
    """The fall of each run over all cells, marked by its verdict."""
    return _drawing(
        found,
        [one.overall for one in found.runs[-MAX_RUNS:]],
        name="history",
        title="Fall from base to tuned model, run by run",
    )


@HISTORY_FIGURES.register
def falls_of_cells(found: History) -> Drawing | None:
    """The same for each cell, as small multiples."""
    cells = list(found.runs[-1].cells)
    if not 1 < len(cells) <= MAX_PANELS:
        return None
    runs = found.runs[-MAX_RUNS:]

    def draw(sheet: Sheet) -> None:
        n_columns = 1 if sheet.is_narrow else min(3, len(cells))
        panels = sheet.panels(
            len(cells), 1.5, _legend(), n_columns=n_columns, margin=0.4, sharex=True, sharey=True,
            narrow_columns=2,
        )  # fmt: skip
        for cell, axes in zip(cells, panels, strict=True):
            there = {at: one.cells[cell] for at, one in enumerate(runs) if cell in one.cells}
            _draw(axes, there)
            axes.set_title(clipped(visible(cell), 30))
            _name_runs(axes, len(runs), len(found.runs))
        sheet.figure.supxlabel("run, the newest last", size=9)
        sheet.figure.supylabel("fall, points", size=9)

    said = (
        f"{visible(cell)}: "
        + ", ".join(_said(one.cells[cell]) for one in runs if cell in one.cells)
        for cell in cells
    )
    ns = [one.cells[cell].n for one in runs for cell in cells if cell in one.cells]
    return Drawing(
        name="history-cells",
        title="Fall in each cell, run by run",
        caption="Above zero the tuned model is worse than its base.",
        alternative=f"Falls of the cells, in points. {'. '.join(said)}.",
        draw=draw,
        basis=_basis(ns, "in each cell"),
    )


def _drawing(found: History, shown: Sequence[HistoryFigures], *, name: str, title: str) -> Drawing:
    def draw(sheet: Sheet) -> None:
        axes = sheet.axes(2.6, _legend(), narrow_columns=2)
        _draw(axes, dict(enumerate(shown)))
        _name_runs(axes, len(shown), len(found.runs))
        axes.set(xlabel="run, the newest last", ylabel="fall, points")

    left = len(found.runs) - len(shown)
    earlier = f" The {left} earliest runs are in the table alone." if left else ""
    return Drawing(
        name=name,
        title=title,
        caption="Base minus tuned accuracy, both asked plainly; above zero the tuned model is "
        f"worse than its base. The mark is the verdict.{earlier}",
        alternative=f"Falls, in points. {', '.join(map(_said, shown))}.",
        draw=draw,
        basis=_basis([one.n for one in shown], "in each run"),
    )


def _basis(ns: Sequence[int], where: str) -> str:
    return (
        f"{how_many(ns)} {where}; 95 % intervals of each run, over its source "
        "examples, not adjusted for the number of runs."
    )


def _draw(axes: Axes, shown: dict[int, HistoryFigures]) -> None:
    for verdict, (color, marker) in _PENS.items():
        mine = {at: one for at, one in shown.items() if one.verdict == verdict}
        draw_intervals(
            axes,
            [one.fall for one in mine.values()],
            [one.fall_ci95 for one in mine.values()],
            list(mine),
            upright=True,
            color=color,
            fmt=marker,
            markersize=5.5,
        )
    axes.plot(list(shown), [one.fall for one in shown.values()], color=MUTED, lw=0.8, zorder=1)
    axes.axhline(0, color=BASE, linewidth=1, linestyle="--", zorder=1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))


def _name_runs(axes: Axes, n_shown: int, n_runs: int) -> None:
    step = -(-n_shown // _MOST_NAMED)
    places = range(0, n_shown, step)
    axes.set_xticks(list(places), [str(n_runs - n_shown + place + 1) for place in places])
    axes.set_xlim(-0.5, n_shown - 0.5)


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], color=color, marker=marker, linestyle="", markersize=5.5, label=verdict)
        for verdict, (color, marker) in _PENS.items()
    ]


def _said(one: HistoryFigures) -> str:
    return f"{percent(one.fall)} {percent_interval(one.fall_ci95)} {one.verdict}"


def render_history(found: History, figures: Sequence[PageFigure]) -> str:
    """Return the page.

    Args:
        found: The runs and their changes.
        figures: In order.
    """
    return render(
        "history.html.j2",
        figures,
        filters={
            "percent": percent,
            "percent_interval": percent_interval,
            "p_relation": lambda p: relation(p_value(p)),
        },
        found=found,
        clear=[change for change in found.changes if change.is_clear],
    )
