"""Tables in a terminal: what fits is shown by its importance, and what does not is named below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from palimpsest.report.text import visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table

Piece: TypeAlias = tuple[str, bool]
"""A column by its header, and whether with the intervals of its numbers."""


class TextColumn(NamedTuple):
    """A column: for each row a text and its interval, which may be empty."""

    header: str
    cells: Sequence[tuple[str, str]]
    is_number: bool = True

    def text(self, *, one_line_header: bool, with_intervals: bool) -> tuple[str, list[str]]:
        """Return header and cells; a header of several lines is as wide as the cells."""
        cells = [
            f"{value} {interval}" if interval and with_intervals else value
            for value, interval in self.cells
        ]
        header = visible(self.header)
        if not one_line_header:
            header = fill(header, max(map(len, [*cells, *header.split()])), break_on_hyphens=False)
        return header, cells


class FittedTable:
    """A table as rich prints it, a row a line: the most important columns that fit.

    Args:
        columns: In the order in which they stand. The first has the rows' names and is always
            shown; a name too long for it stands below the table.
        importance: What is shown, the most important first, each where all before it fit.
        n_essential: How many of these have to fit beside whole names; for fewer, names give way.
        elsewhere: Where what is not shown can be found, such as ``table.csv``.
    """

    def __init__(
        self,
        columns: Sequence[TextColumn],
        importance: Sequence[Piece],
        *,
        n_essential: int,
        elsewhere: str,
    ) -> None:
        self.names, *self.columns = columns
        self.importance = importance
        self.n_essential = n_essential
        self.elsewhere = elsewhere

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        from rich.measure import Measurement
        from rich.text import Text

        def width(table: Table) -> int:
            return Measurement.get(console, options.update(width=10_000), table).maximum

        room = options.max_width
        table = self._table(self.importance, one_line_headers=True)
        left_out: list[str] = []
        below: list[str] = []
        if width(table) > room:
            n_shown = len(self.importance)
            while n_shown > self.n_essential and width(self._table(self._first(n_shown))) > room:
                n_shown -= 1
            nameless = self._table(self._first(n_shown), [""] * len(self.names.cells))
            names, below = self._fitting_names(room - width(nameless) + len(self.names.header))
            while n_shown > 1 and width(self._table(self._first(n_shown), names)) > room:
                n_shown -= 1
            table = self._table(self._first(n_shown), names)
            left_out = self._left_out(n_shown)
        yield table
        yield from map(Text, below)
        if left_out:
            yield Text(
                f"Not shown, for want of width: {'; '.join(left_out)}. See {self.elsewhere}."
            )

    def _first(self, n_pieces: int) -> Sequence[Piece]:
        return self.importance[:n_pieces]

    def _fitting_names(self, room: int) -> tuple[list[str], list[str]]:
        """Return names of at most ``room`` columns, and those that are longer, numbered."""
        from rich.cells import cell_len

        names: list[str] = []
        below: list[str] = []
        for name, _ in self.names.cells:
            if cell_len(name) > max(room, len(self.names.header)):
                below.append(f"({len(below) + 1}) {name}")
                name = f"({len(below)})"
            names.append(name)
        return names, below

    def _left_out(self, n_shown: int) -> list[str]:
        shown = dict(self._first(n_shown))
        left_out = []
        for column in self.columns:
            name = column.header.partition(",")[0]
            if column.header not in shown:
                left_out.append(name)
            elif not shown[column.header] and any(interval for _, interval in column.cells):
                left_out.append(f"intervals of {name}")
        return left_out

    def _table(
        self,
        pieces: Sequence[Piece],
        names: Sequence[str] | None = None,
        *,
        one_line_headers: bool = False,
    ) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        shown = dict(pieces)  # a later piece adds the intervals to an earlier one
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        table.add_column(Text(self.names.header), overflow="fold")
        texts = [[name for name, _ in self.names.cells] if names is None else names]
        for column in self.columns:
            if column.header in shown:
                header, cells = column.text(
                    one_line_header=one_line_headers, with_intervals=shown[column.header]
                )
                table.add_column(Text(header), justify="right" if column.is_number else "left")
                texts.append(cells)
        for row in zip(*texts, strict=True):
            table.add_row(*map(Text, row))
        return table
