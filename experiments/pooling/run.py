"""Coverage of pooled falls: ``python -m experiments.pooling.run`` writes ``tables/coverage.csv``.

Cells are drawn from populations, some of which the model does not have; every run pools its cells
and looks where the truths lie. What must hold, written before the runs: over cells drawn from a
population the intervals hold the truth in at least 93 % (95 are nominal), whatever its shape, and
the mean squared error is below that of the raw figures. A lone cell unlike all others is told apart
from these: its interval is not promised to hold, and the table says how often it does.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from palimpsest.stats import pooled_falls, wilson_interval
from palimpsest.stats.paired import Flips
from palimpsest.stats.proportions import newcombe_paired_interval

TABLES = Path(__file__).parent / "tables"
SEED = 20261130
LEAST = 0.93
"""Share of truths that the intervals are to hold."""


class Cells(NamedTuple):
    """True shares of some cells."""

    flip: np.ndarray
    """Of the examples that flip."""
    lose: np.ndarray
    """Of the flips that are losses."""

    @property
    def fall(self) -> np.ndarray:
        """Base minus tuned accuracy."""
        return np.asarray(self.flip * (2 * self.lose - 1))


Draw = Callable[[np.random.Generator], Cells]


def betas(n: int, flip: tuple[float, float], lose: tuple[float, float]) -> Draw:
    """Return cells as the model has them."""
    return lambda rng: Cells(rng.beta(*flip, n), rng.beta(*lose, n))


def logistic(n: int) -> Draw:
    """Return cells whose log odds are normal."""

    def draw(rng: np.random.Generator) -> Cells:
        flip, lose = rng.normal(-2.5, 1.0, n), rng.normal(0.5, 1.0, n)
        return Cells(1 / (1 + np.exp(-flip)), 1 / (1 + np.exp(-lose)))

    return draw


def halves(n: int) -> Draw:
    """Return cells of which half fell by 40 points and half not at all."""

    def draw(rng: np.random.Generator) -> Cells:
        fell = rng.random(n) < 0.5
        return Cells(np.where(fell, 0.44, 0.04), np.where(fell, 0.95, 0.5))

    return draw


def lone(n: int, fall: float) -> Draw:
    """Return cells without a fall, but for the last."""

    def draw(rng: np.random.Generator) -> Cells:
        cells = Cells(rng.beta(4, 96, n), np.full(n, 0.5))
        cells.flip[-1], cells.lose[-1] = fall + 0.02, (fall + 0.01) / (fall + 0.02)
        return cells

    return draw


TRUTHS: dict[str, Draw] = {
    "20 cells much alike": betas(20, (20, 180), (20, 10)),
    "20 cells, small and large falls": betas(20, (1, 4), (2, 1)),
    "20 cells, nothing fell": betas(20, (4, 96), (200, 200)),
    "20 cells, nothing flips": lambda rng: Cells(np.zeros(20), np.full(20, 0.5)),
    "20 cells of another shape": logistic(20),
    "20 cells, half of them fell by 40 points": halves(20),
    "3 cells, small and large falls": betas(3, (1, 4), (2, 1)),
    "20 cells, each asked until its fall is clear": betas(20, (1, 4), (2, 1)),
    "19 cells without a fall, one of 10 points": lone(20, 0.1),
    "19 cells without a fall, one of 30 points": lone(20, 0.3),
}
"""Name to cells; what a name says of stopping and of a lone cell, :func:`simulate` does."""

NAMES = ("truth", "cells", "n", "held", "low", "high", "held_raw", "width", "error")


def simulate(truth: str, *, n_runs: int, seed: int) -> Iterator[dict[str, object]]:
    """Yield the rows of a truth: coverage, and width and error as shares of the raw ones."""
    rng = np.random.default_rng([seed, list(TRUTHS).index(truth)])
    seen: dict[str, list[tuple[float, ...]]] = {}
    for _ in range(n_runs):
        cells = TRUTHS[truth](rng)
        n, lost, gained = _answers(rng, cells, until_clear="until" in truth)
        pooled = pooled_falls(lost.tolist(), gained.tolist(), n.tolist())
        for at, (fall, one) in enumerate(zip(cells.fall.tolist(), pooled, strict=True)):
            is_lone = truth.startswith("19") and at == len(pooled) - 1
            raw = (lost[at] - gained[at]) / n[at]
            ends = _newcombe(int(lost[at]), int(gained[at]), int(n[at]))
            seen.setdefault("the lone one" if is_lone else "all others", []).append(
                (
                    one.interval.low <= fall <= one.interval.high,
                    ends[0] <= fall <= ends[1],
                    one.interval.high - one.interval.low,
                    ends[1] - ends[0],
                    (one.mean - fall) ** 2,
                    (raw - fall) ** 2,
                )
            )
    for which, found in seen.items():
        means = np.mean(found, axis=0).tolist()
        held, held_raw, width, width_raw, error, error_raw = means
        low, high = wilson_interval(round(held * len(found)), len(found))
        yield {
            "truth": truth,
            "cells": which if len(seen) > 1 else "all",
            "n": len(found),
            "held": held,
            "low": low,
            "high": high,
            "held_raw": held_raw,
            "width": width / width_raw,
            "error": math.sqrt(error / error_raw) if error_raw else None,
        }


def _answers(
    rng: np.random.Generator, cells: Cells, *, until_clear: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return examples, losses and gains of each cell.

    Of 20 to 200 examples; or of ten more until Newcombe's interval is above zero.
    """
    if not until_clear:
        n = rng.integers(20, 201, len(cells.flip))
        flips = rng.binomial(n, cells.flip)
        lost = rng.binomial(flips, cells.lose)
        return n, lost, flips - lost
    found = []
    for flip, lose in zip(*cells, strict=True):
        found.append(_until_clear(rng, float(flip), float(lose)))
    counts = np.array(found).T
    return counts[0], counts[1], counts[2]


def _until_clear(rng: np.random.Generator, flip: float, lose: float) -> tuple[int, int, int]:
    n = lost = gained = 0
    while n < 200 and (n < 20 or _newcombe(lost, gained, n)[0] <= 0):
        flips = int(rng.binomial(10, flip))
        losses = int(rng.binomial(flips, lose))
        n, lost, gained = n + 10, lost + losses, gained + flips - losses
    return n, lost, gained


def _newcombe(lost: int, gained: int, n: int) -> tuple[float, float]:
    """Return the raw interval, the answers that do not flip being right."""
    return newcombe_paired_interval(Flips(n - lost - gained, lost, gained, 0))


def summary() -> str:
    """Return the table as Markdown."""
    lines = [
        "| truth | cells | truths held | by the cell alone | width | error | passed |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    with (TABLES / "coverage.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        held, low, high, raw = (100 * float(row[k]) for k in ("held", "low", "high", "held_raw"))
        error = f"{float(row['error']):.2f}" if row["error"] else "–"
        lines.append(
            f"| {row['truth']} | {row['cells']} | {held:.1f} % [{low:.1f}, {high:.1f}] | "
            f"{raw:.1f} % | {float(row['width']):.2f} | {error} | {_passed(row)} |"
        )
    return "\n".join(lines)


def _passed(row: dict[str, str]) -> str:
    if row["cells"] == "the lone one":
        return "not promised"
    is_closer = not row["error"] or float(row["error"]) < 1
    return "yes" if float(row["held"]) >= LEAST and is_closer else "**no**"


def main() -> None:
    """Simulate all truths and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TABLES)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "coverage.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, NAMES, lineterminator="\n")
        writer.writeheader()
        for truth in TRUTHS:
            for row in simulate(truth, n_runs=options.runs, seed=SEED):
                writer.writerow(row)
                sys.stdout.write(f"{row}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
