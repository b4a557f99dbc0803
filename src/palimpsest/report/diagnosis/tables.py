"""Tables of a diagnosis, a row for each way of asking: CSV, Markdown, LaTeX and terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from palimpsest.report.terminal import FittedTable, TextColumn
from palimpsest.report.text import (
    MISSING,
    conjugation_label,
    csv_interval,
    csv_text,
    p_value,
    percent,
    percent_interval,
    ratio,
    ratio_interval,
    visible,
)

if TYPE_CHECKING:
    from palimpsest.records import (
        Arm,
        Cell,
        ConjugationResult,
        Interval,
        Plain,
        PooledCell,
        Results,
    )


AT_FLOOR = "not asked further"
"""In place of a verdict, where the base model cannot do what a cell asks for."""

_BASE = ("base_n", "base_accuracy", "base_low", "base_high")


@dataclass(frozen=True)
class TableRow:
    """Base against tuned, asked in one way."""

    name: str
    kind: str
    """``plain``, ``native``, ``exact`` or ``lossy``."""
    base: Arm
    tuned: Arm
    forgot: Plain | None = None
    """Test and flips of base against tuned; of the plain row only."""
    p_value: float | None = None
    """Of the tuned model under the conjugation against the tuned model plain, as what follows."""
    p_holm: float | None = None
    n_lost: int | None = None
    n_gained: int | None = None
    recovery: float | None = None
    recovery_ci95: Interval | None = None
    did: float | None = None
    did_ci95: Interval | None = None
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

    @property
    def change_ci95(self) -> Interval | None:
        """Its interval, which is recorded for the plain row only."""
        if self.forgot is None:
            return None
        low, high = self.forgot.forgetting_hull95
        return -high, -low


@dataclass(frozen=True)
class Column:
    """One column as people read it."""

    key: str
    header: str
    value: Callable[[TableRow], str]
    interval: Callable[[TableRow], str] = lambda row: ""
    group: str = ""
    """What is compared in it, and in those beside it."""


_BOTH = "Tuned against base, asked alike"
_BROUGHT_BACK = "Tuned, asked so against plainly"
_CONJUGATION = "The conjugation"

COLUMNS: tuple[Column, ...] = (
    Column("name", "Asked", lambda row: conjugation_label(row.name)),
    Column(
        "base",
        "Base, %",
        lambda row: percent(row.base.accuracy),
        lambda row: percent_interval(row.base.ci95),
        group=_BOTH,
    ),
    Column(
        "tuned",
        "Tuned, %",
        lambda row: percent(row.tuned.accuracy),
        lambda row: percent_interval(row.tuned.ci95),
        group=_BOTH,
    ),
    Column(
        "change",
        "Change, points",
        lambda row: percent(row.change, signed=True),
        lambda row: percent_interval(row.change_ci95, signed=True),
        group=_BOTH,
    ),
    Column(
        "recovery",
        "Recovery",
        lambda row: MISSING if row.is_plain else ratio(row.recovery),
        lambda row: ratio_interval(row.recovery_ci95),
        group=_BROUGHT_BACK,
    ),
    Column(
        "did",
        "DiD, points",
        lambda row: percent(row.did, signed=True),
        lambda row: percent_interval(row.did_ci95, signed=True),
        group=_BROUGHT_BACK,
    ),
    Column("p", "p (Holm)", lambda row: p_value(row.p_holm), group=_BROUGHT_BACK),
    Column(
        "flips",
        "Flips 1→0 / 0→1",
        lambda row: MISSING if row.is_plain else f"{row.n_lost} / {row.n_gained}",
        group=_BROUGHT_BACK,
    ),
    Column("fidelity", "Fidelity, %", lambda row: percent(row.fidelity), group=_CONJUGATION),
    Column("kind", "Kind", lambda row: row.kind, group=_CONJUGATION),
)


def by_recovery(conjugations: Sequence[ConjugationResult]) -> list[ConjugationResult]:
    """Return what brings most back first; what is undefined comes last, in the order asked."""
    return sorted(conjugations, key=lambda one: (one.recovery is None, -(one.recovery or 0.0)))


def table_rows(found: Results | Cell) -> list[TableRow]:
    """Return the rows of the whole, or of one cell: plain first, then what brings most back."""
    plain = found.plain
    return [
        TableRow("identity", "plain", base=plain.base, tuned=plain.tuned, forgot=plain),
        *map(_conjugated_row, by_recovery(found.conjugations)),
    ]


def _conjugated_row(found: ConjugationResult) -> TableRow:
    shared = [field.name for field in fields(TableRow) if hasattr(found, field.name)]
    return TableRow(kind=_kind(found), **{name: getattr(found, name) for name in shared})


def _kind(result: ConjugationResult) -> str:
    if result.exact:
        return "exact"
    is_native = result.round_trip is None and result.native is not False
    return "native" if is_native else "lossy"


def csv_table(results: Results) -> str:
    """Return the table with unrounded fractions, one number a field, empty where undefined."""
    return csv_text([_csv_fields(row) for row in table_rows(results)])


def csv_cells(results: Results) -> str:
    """Return the same table for every cell, below each other, with the cell and its verdict."""
    pooled = results.pooled.cells if results.pooled else [None] * len(results.cells)
    rows = [
        {"cell": visible(cell.name), "verdict": cell.verdict}
        | _csv_fields(row)
        | (_csv_pooled(mine) if row.is_plain else {})
        for cell, mine in zip(results.cells, pooled, strict=True)
        for row in table_rows(cell)
    ]
    rows += [
        {"cell": visible(cell.name), "verdict": AT_FLOOR, "conjugation": "", "kind": "plain"}
        | dict(zip(_BASE, (cell.n, cell.accuracy, *cell.ci95), strict=True))
        for cell in results.at_floor
    ]
    shared = _csv_fields(table_rows(results)[0])
    return csv_text(rows, names=["cell", "verdict", *shared, *_csv_pooled(None)])


def _csv_fields(row: TableRow) -> dict[str, object]:
    """Return a row's fields: the test and the flips of each comparison in columns of their own."""
    forgot = row.forgot
    return {
        "conjugation": conjugation_label(row.name),
        "kind": row.kind,
        **_csv_arm("base", row.base),
        **_csv_arm("tuned", row.tuned),
        **csv_interval("change", row.change, row.change_ci95),
        **csv_interval("recovery", row.recovery, row.recovery_ci95),
        **csv_interval("did", row.did, row.did_ci95),
        "forgetting_p_value": forgot and forgot.p_value,
        "forgetting_n_lost": forgot and forgot.n_lost,
        "forgetting_n_gained": forgot and forgot.n_gained,
        **_csv_noise(forgot),
        "p_value": row.p_value,
        "p_holm": row.p_holm,
        "n_lost": row.n_lost,
        "n_gained": row.n_gained,
        "fidelity": row.fidelity,
    }


def _csv_pooled(cell: PooledCell | None) -> dict[str, object]:
    fall, fall_ends = (None, None) if cell is None else (cell.fall, cell.fall_ci95)
    back, back_ends = (None, None) if cell is None else (cell.returned, cell.returned_ci95)
    return {
        **csv_interval("pooled_forgetting", fall, fall_ends),
        "n_fell": cell and cell.n_fell,
        "n_returned": cell and cell.n_returned,
        **csv_interval("pooled_returned", back, back_ends),
    }


def _csv_noise(plain: Plain | None) -> dict[str, object]:
    noise = None if plain is None else plain.noise
    floor, ends = (None, None) if noise is None else (noise.floor, noise.ci95)
    return {
        **csv_interval("noise_floor", floor, ends),
        "noise_n_lost": noise and noise.n_lost,
        "noise_n_gained": noise and noise.n_gained,
    }


def _csv_arm(role: str, arm: Arm) -> dict[str, object]:
    names = ("n", "accuracy", "low", "high", "intruded", "broken", "attempted")
    values = (arm.n, arm.accuracy, *arm.ci95, arm.intruded, arm.broken, arm.attempted)
    return {f"{role}_{name}": value for name, value in zip(names, values, strict=True)}


def markdown_table(results: Results) -> str:
    """Return the table in Markdown (GitHub's dialect), names escaped."""
    lines = [
        _markdown_line([column.header for column in COLUMNS]),
        _markdown_line(["---", *["---:"] * (len(COLUMNS) - 2), "---"]),
    ]
    for row in table_rows(results):
        name, *numbers = (_joined(column, row) for column in COLUMNS)
        lines.append(_markdown_line([_markdown_escape(name), *numbers]))
    return "\n".join(lines) + "\n"


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_escape(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    special = r"\`*_{}[]#|~!$"
    return "".join(f"\\{character}" if character in special else character for character in text)


def latex_table(results: Results) -> str:
    r"""Return the table as a ``tabular`` for ``\usepackage{booktabs}``, names escaped."""
    lines = [
        r"% Needs \usepackage{booktabs}; names in other scripts need XeLaTeX or LuaLaTeX.",
        rf"\begin{{tabular}}{{@{{}}l{'r' * (len(COLUMNS) - 2)}l@{{}}}}",
        r"\toprule",
        " & ".join(_latex_text(column.header) for column in COLUMNS) + r" \\",
        r"\midrule",
    ]
    for row in table_rows(results):
        lines.append(" & ".join(_latex_cell(column, row) for column in COLUMNS) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


_LATEX = {
    **{character: f"\\{character}" for character in "{}$&#%_"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\texttt{\char34}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "-": r"-{}",
    "−": "$-$",
    "–": "--",
    "→": r"$\to$",
    "[": "{[}",
    "]": "{]}",
}
"""Brackets too: after a row's ``\\\\``, a bracket would be read as its optional argument."""


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_cell(column: Column, row: TableRow) -> str:
    value, interval = _latex_text(column.value(row)), _latex_text(column.interval(row))
    return rf"{value} {{\scriptsize {interval}}}" if interval else value


class TerminalTable(FittedTable):
    """The table as rich prints it: the most important columns that fit the terminal."""

    def __init__(self, results: Results) -> None:
        rows = table_rows(results)
        super().__init__(
            [
                TextColumn(
                    column.header,
                    [(column.value(row), column.interval(row)) for row in rows],
                    is_number=column.key not in ("name", "kind"),
                )
                for column in COLUMNS
            ],
            [(_HEADERS[key], with_interval) for key, with_interval in _IMPORTANCE],
            n_essential=3,
            elsewhere="table.csv in the run folder",
        )


_HEADERS = {column.key: column.header for column in COLUMNS}
_IMPORTANCE = (
    ("base", False), ("tuned", False), ("recovery", False),
    ("recovery", True), ("tuned", True), ("base", True), ("did", True),
    ("p", False), ("change", True), ("flips", False), ("kind", False), ("fidelity", False),
)  # fmt: skip
"""Columns, and whether with their intervals: the first that fit the terminal are shown."""


def _joined(column: Column, row: TableRow) -> str:
    return f"{column.value(row)} {column.interval(row)}".rstrip()
