"""Tables of a restoration: CSV, and the one that the terminal shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from palimpsest.report.terminal import FittedTable, TextColumn
from palimpsest.report.text import (
    MISSING,
    csv_interval,
    csv_text,
    number,
    percent,
    percent_interval,
    ratio,
    ratio_interval,
    visible,
)

if TYPE_CHECKING:
    from palimpsest.records import CellFigures, Estimate, FrontPoint, Half, Restoration

ELSEWHERE = "restore.csv in the run folder"


def csv_front(found: Restoration) -> str:
    """Return a row for each point, with unrounded fractions, empty where undefined."""
    return csv_text(
        [
            {
                "name": visible(point.name),
                "kind": point.kind,
                "chosen": point.name == found.choice.name,
                "is_on_front": point.is_on_front,
                **csv_estimate("kept", point.kept),
                **csv_estimate("recovery", point.recovery),
                **csv_estimate("target", point.target),
                **csv_estimate("target_change", point.target_change),
                **_csv_half("selection", point.selection),
                **_csv_half("report", point.report),
                "formula": visible(point.formula),
                "source": visible(point.source),
                "fingerprint": point.fingerprint,
            }
            for point in found.points
        ]
    )


def csv_front_cells(found: Restoration) -> str:
    """Return a row for each point and cell with the four figures."""
    rows = [
        {
            "name": visible(point.name),
            "part": cell.part,
            "cell": visible(cell.cell),
            "n": cell.n,
            "n_fallen": cell.n_fallen,
            **csv_estimate("healed", cell.healed),
            **csv_estimate("preserved", cell.preserved),
            **csv_estimate("damaged", cell.damaged),
            **csv_estimate("target_kept", cell.target_kept),
        }
        for point in found.points
        for cell in point.cells
    ]
    return csv_text(rows, names=["name", "part", "cell"] if not rows else ())


def csv_estimate(name: str, found: Estimate | None) -> dict[str, object]:
    """Return the three fields of a quantity; empty ones if there is none."""
    if found is None:
        return csv_interval(name, None, None)
    return csv_interval(name, found.value, found.ci95)


def _csv_half(name: str, half: Half | None) -> dict[str, object]:
    return {
        f"{name}_n": None if half is None else half.n,
        f"{name}_kept": None if half is None else half.kept,
        **csv_estimate(f"{name}_gain", None if half is None else half.gain),
    }


def target_score(found: Restoration, point: FrontPoint) -> tuple[str, str]:
    """Return a score on the target with its interval, in its unit."""
    if point.target is None or point.target.value is None:
        return MISSING, ""
    if found.target.unit == "accuracy":
        return percent(point.target.value), percent_interval(point.target.ci95)
    low, high = point.target.ci95 or (None, None)
    return number(point.target.value, 3), f"[{number(low, 3)}, {number(high, 3)}]"


def margin_text(found: Restoration) -> str:
    """Return the margin of the target with its unit."""
    return f"{number(100 * found.choice.margin, 1).removesuffix('.0')} points"


def mark_of(found: Restoration, point: FrontPoint) -> str:
    """Return what is to be said of a point beside its name."""
    if point.name == found.choice.name:
        return "chosen" if found.choice.outcome == "good" else "chosen, not confirmed"
    if point.name == found.cure.via:
        return "best way of asking"
    return ""


class FrontTable(FittedTable):
    """The points as rich prints them: the most important columns that fit the terminal."""

    def __init__(self, found: Restoration) -> None:
        self._found = found
        text = found.target.unit == "bits a byte"
        columns = {
            "Model": [(self._name(point), "") for point in found.points],
            "Kept, %": [_percent(point.kept) for point in found.points],
            "Recovery": [_ratio(point.recovery) for point in found.points],
            "Bits saved, points" if text else "Target, points": [
                _percent(point.target_change, signed=True) for point in found.points
            ],
            "Bits a byte" if text else "Target, %": [
                target_score(found, point) for point in found.points
            ],
        }
        _, kept, recovery, change, score = columns
        super().__init__(
            [
                TextColumn(header, cells, is_number=header != "Model")
                for header, cells in columns.items()
            ],
            [
                (kept, False), (change, False), (kept, True), (change, True), (score, False),
                (recovery, False), (score, True), (recovery, True),
            ],
            n_essential=2,
            elsewhere=ELSEWHERE,
        )  # fmt: skip

    def _name(self, point: FrontPoint) -> str:
        mark = mark_of(self._found, point)
        name = f"tuned, under {point.name}" if point.kind == "prompting" else point.name
        return visible(f"{name} ({mark})" if mark else name)


def _percent(found: Estimate | None, *, signed: bool = False) -> tuple[str, str]:
    if found is None or found.value is None:
        return MISSING, ""
    return percent(found.value, signed=signed), percent_interval(found.ci95, signed=signed)


def _ratio(found: Estimate) -> tuple[str, str]:
    if found.value is None:
        return MISSING, ""
    return ratio(found.value), ratio_interval(found.ci95)


def cell_rows(point: FrontPoint) -> Sequence[CellFigures]:
    """Return the cells of a point: of what was lost first, then of the target."""
    return sorted(point.cells, key=lambda cell: cell.part == "target")
