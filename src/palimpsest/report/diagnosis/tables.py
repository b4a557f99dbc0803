"""The table of a diagnosis, one row per conjugation: CSV, Markdown, terminal (and ``latex.py``)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from palimpsest.report.text import (
    MISSING,
    conjugation_label,
    p_value,
    percent,
    percent_interval,
    ratio,
    ratio_interval,
    visible,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table

    from palimpsest.records.results import Arm, ConjugationResult, Interval, Plain, Results


@dataclass(frozen=True)
class Row:
    """Base against tuned, asked in one way."""

    name: str
    kind: str
    """``plain``, ``native``, ``exact`` or ``lossy``."""
    base: Arm
    tuned: Arm
    change_ci95: Interval | None
    """Interval of tuned − base; recorded for the plain row only."""
    recovery: float | None
    recovery_ci95: Interval | None
    did: float | None
    did_ci95: Interval | None
    p_value: float
    p_holm: float | None
    n_lost: int
    n_gained: int
    fidelity: float | None = None
    """Mean chrF of the prompts' round trip; nothing is translated back in a native language."""

    @property
    def is_plain(self) -> bool:
        """Whether this is the row without a conjugation."""
        return self.kind == "plain"

    @property
    def change(self) -> float:
        """Tuned minus base accuracy."""
        return self.tuned.accuracy - self.base.accuracy


@dataclass(frozen=True)
class Column:
    """One column as people read it."""

    key: str
    header: str
    value: Callable[[Row], str]
    interval: Callable[[Row], str] = lambda row: ""


COLUMNS: tuple[Column, ...] = (
    Column("name", "Asked", lambda row: conjugation_label(row.name)),
    Column(
        "base",
        "Base, %",
        lambda row: percent(row.base.accuracy),
        lambda row: percent_interval(row.base.ci95),
    ),
    Column(
        "tuned",
        "Tuned, %",
        lambda row: percent(row.tuned.accuracy),
        lambda row: percent_interval(row.tuned.ci95),
    ),
    Column("change", "Change, points", lambda row: percent(row.change, signed=True)),
    Column(
        "recovery",
        "Recovery",
        lambda row: MISSING if row.is_plain else ratio(row.recovery),
        lambda row: ratio_interval(row.recovery_ci95),
    ),
    Column(
        "did",
        "DiD, points",
        lambda row: percent(row.did, signed=True),
        lambda row: percent_interval(row.did_ci95, signed=True),
    ),
    Column(
        "p",
        "p (Holm)",
        lambda row: p_value(row.p_value if row.is_plain else row.p_holm),
    ),
    Column("flips", "Flips 1→0 / 0→1", lambda row: f"{row.n_lost} / {row.n_gained}"),
    Column("fidelity", "Fidelity, %", lambda row: percent(row.fidelity)),
    Column("kind", "Kind", lambda row: row.kind),
)


def table_rows(plain: Plain, conjugations: Sequence[ConjugationResult]) -> list[Row]:
    """Return the rows of the whole, or of one cell: plain first, then every conjugation."""
    low, high = plain.forgetting_ci95
    first = Row(
        name="identity",
        kind="plain",
        base=plain.base,
        tuned=plain.tuned,
        change_ci95=(-high, -low),
        recovery=None,
        recovery_ci95=None,
        did=None,
        did_ci95=None,
        p_value=plain.p_value,
        p_holm=None,
        n_lost=plain.n_lost,
        n_gained=plain.n_gained,
    )
    return [first, *(_conjugation_row(result) for result in conjugations)]


def csv_table(results: Results) -> str:
    """Return the table with unrounded fractions, one number a field, empty where undefined."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV_FIELDS)
    writer.writerows(_csv_values(row) for row in table_rows(results.plain, results.conjugations))
    return out.getvalue()


def csv_cells(results: Results) -> str:
    """Return the same table for every cell, below each other, with the cell and its verdict."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("cell", "verdict", *_CSV_FIELDS))
    for cell in results.cells:
        for row in table_rows(cell.plain, cell.conjugations):
            writer.writerow((visible(cell.name), cell.verdict, *_csv_values(row)))
    return out.getvalue()


def markdown_table(results: Results) -> str:
    """Return the table in Markdown (GitHub's dialect), names escaped."""
    lines = [
        _markdown_line([column.header for column in COLUMNS]),
        _markdown_line(["---", *["---:"] * (len(COLUMNS) - 2), "---"]),
    ]
    for row in table_rows(results.plain, results.conjugations):
        name, *numbers = (_joined(column, row, " ") for column in COLUMNS)
        lines.append(_markdown_line([_markdown_escape(name), *numbers]))
    return "\n".join(lines) + "\n"


def terminal_table(results: Results) -> TerminalTable:
    """Return the table for a terminal: rich prints it, in the widest layout that fits."""
    return TerminalTable(table_rows(results.plain, results.conjugations))


class TerminalTable:
    """A renderable for rich that chooses its columns when it knows the terminal's width."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        from rich.measure import Measurement

        tables = [self._layout(keys, separator) for keys, separator in _LAYOUTS]
        fitting = [
            table
            for table in tables
            if Measurement.get(console, options.update(width=10_000), table).maximum
            <= options.max_width
        ]
        yield (fitting or tables[-1:])[0]

    def _layout(self, keys: Sequence[str], separator: str | None) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        columns = [column for column in COLUMNS if column.key in keys]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for column in columns:
            table.add_column(
                Text(column.header if separator == " " else column.header.replace(" ", "\n", 1)),
                justify="left" if column.key in ("name", "kind") else "right",
            )
        for row in self.rows:
            table.add_row(*(Text(_joined(column, row, separator)) for column in columns))
        return table


_EVERYTHING = tuple(column.key for column in COLUMNS)
_LAYOUTS: tuple[tuple[tuple[str, ...], str | None], ...] = (
    (_EVERYTHING, " "),
    (_EVERYTHING, "\n"),
    (("name", "base", "tuned", "recovery", "did", "p"), "\n"),
    (("name", "base", "tuned", "recovery"), "\n"),
    (("name", "base", "tuned", "recovery"), None),
)
"""Columns, and what stands between a number and its interval; None leaves intervals out."""

_CSV_FIELDS = (
    "conjugation",
    "kind",
    *(
        f"{role}_{field}"
        for role in ("base", "tuned")
        for field in ("n", "accuracy", "low", "high", "intruded", "broken")
    ),
    *("change", "change_low", "change_high"),
    *("recovery", "recovery_low", "recovery_high", "did", "did_low", "did_high"),
    *("p_value", "p_holm", "n_lost", "n_gained", "fidelity"),
)


def _conjugation_row(result: ConjugationResult) -> Row:
    return Row(
        name=result.name,
        kind=_kind(result),
        base=result.base,
        tuned=result.tuned,
        change_ci95=None,
        recovery=result.recovery,
        recovery_ci95=result.recovery_ci95,
        did=result.did,
        did_ci95=result.did_ci95,
        p_value=result.p_value,
        p_holm=result.p_holm,
        n_lost=result.n_lost,
        n_gained=result.n_gained,
        fidelity=result.fidelity,
    )


def _csv_values(row: Row) -> list[object]:
    return [
        conjugation_label(row.name),
        row.kind,
        *_csv_arm(row.base),
        *_csv_arm(row.tuned),
        row.change,
        *(row.change_ci95 or ("", "")),
        row.recovery,
        *(row.recovery_ci95 or ("", "")),
        row.did,
        *(row.did_ci95 or ("", "")),
        row.p_value,
        row.p_holm,
        row.n_lost,
        row.n_gained,
        row.fidelity,
    ]


def _csv_arm(arm: Arm) -> tuple[float, ...]:
    return (arm.n, arm.accuracy, *arm.ci95, arm.intruded, arm.broken)


def _kind(result: ConjugationResult) -> str:
    if result.exact:
        return "exact"
    is_native = result.round_trip is None and result.native is not False
    return "native" if is_native else "lossy"


def _joined(column: Column, row: Row, separator: str | None) -> str:
    value, interval = column.value(row), column.interval(row)
    return value if separator is None or not interval else value + separator + interval


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_escape(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    special = r"\`*_{}[]#|~!$"
    return "".join(f"\\{character}" if character in special else character for character in text)
