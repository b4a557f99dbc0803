from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from palimpsest.report.terminal import FittedTable, TextColumn

LONG = "translate:es@seq2seq:facebook/nllb-200-distilled-600M"
HEADERS = ["Base, %", "Tuned, %", "Recovery", "p (Holm)"]


def table(*names: str) -> FittedTable:
    number = [("98.5", "[96.8, 99.3]")] * len(names)
    return FittedTable(
        [
            TextColumn("Asked", [(name, "") for name in names], is_number=False),
            *(TextColumn(header, number) for header in HEADERS[:3]),
            TextColumn(HEADERS[3], [("< 0.001", "")] * len(names)),
        ],
        [
            *((header, False) for header in HEADERS[:3]),
            *((header, True) for header in [*HEADERS[2::-1], HEADERS[3]]),
        ],
        n_essential=3,
        elsewhere="table.csv",
    )


def printed(shown: FittedTable, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None, legacy_windows=False)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert max(map(cell_len, lines)) <= width
    assert "…" not in "\n".join(lines)
    return "\n".join(lines)


@pytest.mark.parametrize("width", [200, 100, 80, 60, 45])
def test_every_column_is_shown_or_named_below(width: int) -> None:
    lines = printed(table("plain", "leet"), width)
    head, _, body = lines.partition("─\n")
    rows, _, left_out = body.partition("Not shown")
    for header in HEADERS:
        name = header.partition(",")[0]
        assert name in head or name in " ".join(left_out.split())
    shown = rows.count("98.5")
    whole = rows.count("98.5 [96.8, 99.3]")
    assert (shown == whole) == ("intervals of" not in left_out)
    assert len(rows.splitlines()) == 2  # a row a line


def test_the_most_important_come_first() -> None:
    assert "Not shown" not in printed(table("plain"), 80)
    assert "Not shown, for want of width: p (Holm)." in printed(table("plain"), 62)
    narrow = " ".join(printed(table("plain"), 56).split())
    assert "intervals of Base; p (Holm). See table.csv." in narrow
    assert "intervals of Tuned" not in narrow


@pytest.mark.parametrize("width", [200, 100, 80, 60])
def test_a_name_is_whole_beside_its_numbers_or_numbered_below_them(width: int) -> None:
    lines = printed(table("plain", LONG, "翻译" * 10), width).splitlines()
    [named] = [line for line in lines if LONG in line]
    assert ("98.5" in named) == (width >= 80)
    assert (f"(1) {LONG}" in lines) == (width < 80)
    [foreign] = [line for line in lines if "翻译" * 10 in line]
    assert ("98.5" in foreign) == (width > 60)
