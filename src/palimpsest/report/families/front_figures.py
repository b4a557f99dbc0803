"""Figures of a restoration: the front, and what became of each cell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, PercentFormatter

from palimpsest.report.families.front_tables import margin_text
from palimpsest.report.figure import (
    BAND,
    BASE,
    INK,
    MUTED,
    RIGHT,
    TUNED,
    Drawing,
    FigureRegistry,
    Sheet,
)
from palimpsest.report.text import clipped, number, percent, percent_interval, visible

if TYPE_CHECKING:
    from palimpsest.records import FrontPoint, Interval, Restoration

RESTORATION_FIGURES: FigureRegistry[Restoration] = FigureRegistry()


class _Place(NamedTuple):
    """Where a mark stands, with its intervals."""

    label: str
    pen: str
    x: float
    y: float
    across: Interval | None
    upright: Interval | None


class _Pen(NamedTuple):
    color: str
    marker: str
    size: float
    filled: bool
    legend: str


_PENS = {
    "base": _Pen(BASE, "o", 7, True, "base"),
    "tuned": _Pen(TUNED, "D", 6.5, True, "tuned"),
    "member": _Pen(INK, "s", 5.5, True, "member"),
    "chosen": _Pen(RIGHT, "*", 13, True, "chosen member"),
    "where needed": _Pen(RIGHT, "^", 7, True, "tuned, conjugated where needed"),
    "everywhere": _Pen(RIGHT, "^", 7, False, "tuned, conjugated always"),
}


@RESTORATION_FIGURES.register
def front(found: Restoration) -> Drawing:
    """Kept ability against target, every point with intervals that hold together."""
    places = list(_places(found))
    margin = found.choice.margin

    def draw(sheet: Sheet) -> None:
        used = [name for name in _PENS if any(place.pen == name for place in places)]
        axes = sheet.axes(3.4, [_handle(_PENS[name]) for name in used], narrow_columns=2)
        _draw_margin(axes, margin, places)
        line = [point for point in found.points if point.is_on_front]
        ordered = sorted(
            (point.target_change.value or 0.0, point.kept.value or 0.0)
            for point in line
            if point.target_change is not None
        )
        axes.plot(*zip(*ordered, strict=True), color=MUTED, linewidth=0.9, zorder=2)
        for place in places:
            _draw_place(axes, place)
        _join_ways(axes, places)
        _write_labels(axes, places, sheet)
        axes.set(xlabel=_x_label(found, sheet), ylabel="right on what was lost")
        axes.set_ylim(-0.03, 1.06)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: number(100 * value, 0, signed=True))
        )
        axes.grid(visible=True, axis="both")

    said = (
        f"{visible(place.label)}: {percent(place.y)} % {percent_interval(place.upright)} kept, "
        f"target {percent(place.x, signed=True)} points "
        f"{percent_interval(place.across, signed=True)}".rstrip()
        for place in places
    )
    return Drawing(
        name="front",
        title="What was lost against what it was tuned for, for every member",
        caption="Up: more of what was lost is back. Right: better at the target than the tuned "
        "model. Bars are 95 % intervals that hold all together. The dashed line is the margin; "
        f"left of it the target has fallen by more than {margin_text(found)}. The line joins what "
        "nothing beats in both. A conjugation changes no weights: sent so where needed, all other "
        "prompts stay as they are.",
        alternative=f"The front. {'; '.join(said)}.",
        draw=draw,
    )


def _places(found: Restoration) -> Iterator[_Place]:
    for point in found.points:
        assert point.kept.value is not None
        change = point.target_change
        label = _label(point)
        pen: str = "everywhere" if point.kind == "prompting" else point.kind
        if point.kind == "member" and point.name == _chosen(found):
            pen = "chosen"
        if change is not None and change.value is not None:
            yield _Place(label, pen, change.value, point.kept.value, change.ci95, point.kept.ci95)
        if point.kind == "prompting":
            yield _Place(label, "where needed", 0.0, point.kept.value, None, point.kept.ci95)


def _chosen(found: Restoration) -> str | None:
    return found.choice.name if found.choice.outcome == "good" else None


def _label(point: FrontPoint) -> str:
    """Return what stands beside a mark.

    The shares of a grid stand for themselves, and of a folder its last part does.
    """
    kind, _, target = point.name.partition(":")
    if "/" in target and "|" not in target:
        return visible(f"{kind} {target.rpartition('/')[2]}")
    return visible(point.name.removeprefix("interpolate:"))


def _draw_margin(axes: Axes, margin: float, places: Sequence[_Place]) -> None:
    high = max([0.0, *(place.across[1] for place in places if place.across is not None)])
    axes.axvspan(-margin, high + 1, color=BAND, linewidth=0, zorder=0)
    axes.axvline(-margin, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    low = min([-margin, *(place.across[0] for place in places if place.across is not None)])
    room = 0.04 * max(high - low, 0.02)
    axes.set_xlim(low - room, high + 2 * room)


def _draw_place(axes: Axes, place: _Place) -> None:
    pen = _PENS[place.pen]
    if place.across is not None and place.across[1] > place.across[0]:
        axes.plot(place.across, [place.y] * 2, color=pen.color, linewidth=1.1, alpha=0.55)
    if place.upright is not None:
        axes.plot([place.x] * 2, place.upright, color=pen.color, linewidth=1.1, alpha=0.55)
    face = pen.color if pen.filled else "none"
    axes.plot(
        [place.x],
        [place.y],
        pen.marker,
        color=pen.color,
        markersize=pen.size,
        markerfacecolor=face,
        zorder=4,
    )


def _join_ways(axes: Axes, places: Sequence[_Place]) -> None:
    """Join the two places of a way of asking, sent always and where needed."""
    needed = {place.label: place for place in places if place.pen == "where needed"}
    for place in places:
        if place.pen == "everywhere":
            there = needed[place.label]
            ends = [place.x, there.x], [place.y, there.y]
            axes.plot(*ends, color=RIGHT, linewidth=0.9, linestyle=":", zorder=2)


class _Box(NamedTuple):
    """Where a name stands, in inches."""

    left: float
    right: float
    bottom: float
    top: float

    def overlaps(self, other: _Box) -> bool:
        """Return whether two of them share anything."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def distance(self, mark: tuple[float, float]) -> float:
        """Return how far a mark is from it, in inches; nothing if it lies inside."""
        x, y = mark
        return math.hypot(
            max(self.left - x, 0.0, x - self.right), max(self.bottom - y, 0.0, y - self.top)
        )


def _write_labels(axes: Axes, places: Sequence[_Place], sheet: Sheet) -> None:
    """Write a name beside each mark, where none stands yet and no other mark is nearer."""
    low, high = axes.get_xlim()
    marks = [((place.x - low) / (high - low) * sheet.width, place.y * 3.0) for place in places]
    taken: list[_Box] = []
    for at, (place, (x, y)) in enumerate(zip(places, marks, strict=True)):
        if place.pen == "everywhere":
            continue  # the name stands at the other end
        text = clipped(place.label, 12 if sheet.is_narrow else 24)
        length = 0.08 * len(text)
        others = [mark for other, mark in enumerate(marks) if other != at]
        spots = {
            (side, up): _Box(left, left + length, y + up, y + up + 0.12)
            for up in (0.07, -0.19, 0.2, -0.32, 0.33)
            for side, left in (("left", x + 0.07), ("right", x - 0.07 - length))
            if side == "right" or left + length < sheet.width - 0.6
        }
        free = {
            spot: box for spot, box in spots.items() if not any(map(box.overlaps, taken))
        } or spots
        near = {
            spot: box
            for spot, box in free.items()
            if all(box.distance(mark) > box.distance((x, y)) for mark in others)
        } or free
        side, up = next(iter(near))
        taken.append(near[side, up])
        axes.annotate(
            text,
            (place.x, place.y),
            xytext=(5 if side == "left" else -5, 72 * up),
            textcoords="offset points",
            ha=side,
            size=8,
            color=_PENS[place.pen].color,
            zorder=5,
        )


def _x_label(found: Restoration, sheet: Sheet) -> str:
    what = "bits saved" if found.target.unit == "bits a byte" else "target"
    if sheet.is_narrow:
        return f"{what}, points"
    return f"{what}: change against the tuned model, points"


def _handle(pen: _Pen) -> Line2D:
    return Line2D(
        [],
        [],
        color=pen.color,
        marker=pen.marker,
        linestyle="",
        markersize=min(pen.size, 8),
        markerfacecolor=pen.color if pen.filled else "none",
        label=pen.legend,
    )
