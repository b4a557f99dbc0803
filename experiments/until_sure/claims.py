"""Tables of docs/verdicts.md: ``python -m experiments.until_sure.claims`` prints them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator

from experiments.until_sure.run import TABLES, read

MOST = 0.05
"""What the upper end of an interval of errors may be."""

SAVED = 3.0
"""How many times fewer answers a clear cell is to take."""


def summary() -> str:
    """Return errors, coverage and savings as Markdown."""
    return "\n\n".join((_errors(), _savings()))


def _errors() -> str:
    lines = ["| truth | what | share of runs | passed |", "|---|---|---:|---|"]
    for table, word in (("errors", "gives a wrong verdict"), ("coverage", "misses the {}")):
        for row in read(TABLES / f"{table}.csv"):
            share, low, high = (100 * float(row[name]) for name in ("share", "low", "high"))
            what = word.format(row["what"])
            passed = "yes" if high / 100 <= MOST else "**no**"
            ends = f"[{low:.2f}, {high:.2f}]"
            lines.append(f"| {row['truth']} | ever {what} | {share:.2f} % {ends} | {passed} |")
    return "\n".join(lines)


def _savings() -> str:
    lines = [
        "| pair | cell | asked everything | until sure | answers | times fewer |",
        "|---|---|---|---|---:|---:|",
    ]
    lines += [
        f"| {row['pair']} | {row['cell']} | {row['full']} | {row['sure']} | "
        f"{int(row['n_sure']):,} of {int(row['n_full']):,} | {_times(row):.1f} |"
        for row in _replayed()
    ]
    return "\n".join(lines)


def _replayed() -> Iterator[dict[str, str]]:
    with (TABLES / "replay.csv").open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _times(row: dict[str, str]) -> float:
    return int(row["n_full"]) / int(row["n_sure"])


def contradictions() -> list[dict[str, str]]:
    """Return the cells that got another verdict, inconclusive aside."""
    return [
        row
        for row in _replayed()
        if row["full"] != row["sure"] and "inconclusive" not in (row["full"], row["sure"])
    ]


if __name__ == "__main__":
    sys.stdout.write(summary() + "\n")
