"""Errors and coverage at every boundary: ``python -m experiments.until_sure.run --out tables``.

Writes ``errors.csv`` and ``coverage.csv``, a line a boundary; what is there already is left alone.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from experiments.until_sure.simulated import BOUNDARIES, Share, ever_claimed, ever_missed

TABLES = Path(__file__).parent / "tables"
SEED = 20261129
NAMES = ("truth", "what", "share", "low", "high", "n_runs", "n_examples")


def main() -> None:
    """Simulate what is not in the tables yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TABLES)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=400)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    size = {"n_runs": options.runs, "n": options.examples, "seed": SEED}
    for name in BOUNDARIES:
        for table in ("errors", "coverage"):
            path = options.out / f"{table}.csv"
            if name in {row["truth"] for row in read(path)}:
                continue
            found = (
                {"wrong verdict": ever_claimed(name, **size)}
                if table == "errors"
                else ever_missed(name, **size)
            )
            _append(path, list(_rows(name, found, options.examples)))
            sys.stdout.write(f"{name}, {table}: {found}\n")
            sys.stdout.flush()


def _rows(name: str, found: dict[str, Share], n: int) -> Iterator[dict[str, object]]:
    for what, one in found.items():
        numbers = {"share": one.share, "low": one.ci95.low, "high": one.ci95.high}
        yield {"truth": name, "what": what, **numbers, "n_runs": one.n_runs, "n_examples": n}


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table, none if it is not there."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _append(path: Path, rows: list[dict[str, object]]) -> None:
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, NAMES, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
