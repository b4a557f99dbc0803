"""Verdict of C9 from ``tables/cells.csv``: ``python -m experiments.cure.claims`` prints it.

What counts as coming back, and what decides, stands in README.md and was written before the runs.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import fisher_exact, spearmanr

TABLE = Path(__file__).parent / "tables" / "cells.csv"

HALF, QUARTER = 0.5, 0.25
"""What a cell's healing, and the lower end of its interval, must reach to count as coming back."""

FEWEST = 3
"""Cells of a verdict below which nothing can be told."""


class CuredCell(NamedTuple):
    """A cell that fell, its verdict, and what the best member that keeps the target heals of it."""

    pair: str
    name: str
    verdict: str
    recovery: float
    """Under the best conjugation; NaN where it is undefined."""

    member: str
    """Empty where no member keeps the target."""

    healed: float
    healed_low: float

    @property
    def comes_back(self) -> bool:
        """Whether it does by the rule."""
        return self.healed >= HALF and self.healed_low > QUARTER


def read() -> list[CuredCell]:
    """Return the committed cells."""
    with TABLE.open(newline="") as file:
        return [
            CuredCell(
                pair=row["pair"],
                name=row["cell"],
                verdict=row["verdict"],
                recovery=_number(row["recovery"], math.nan),
                member=row["member"],
                healed=_number(row["healed"], 0.0),
                healed_low=_number(row["healed_low"], 0.0),
            )
            for row in csv.DictReader(file)
        ]


def _number(text: str, otherwise: float) -> float:
    return float(text) if text not in ("", "None") else otherwise


def counts(cells: Sequence[CuredCell]) -> Mapping[str, tuple[int, int]]:
    """Return how many cells of each verdict come back, and how many there are."""
    found = dict.fromkeys(("suppressed", "inconclusive", "lost"), (0, 0))
    for cell in cells:
        back, n = found.get(cell.verdict, (0, 0))
        found[cell.verdict] = (back + cell.comes_back, n + 1)
    return found


def verdict(cells: Sequence[CuredCell]) -> str:
    """Apply the rule of README.md.

    Example:
        >>> cell = CuredCell("p", "c", "suppressed", 1.0, "m", 0.9, 0.8)
        >>> lost = cell._replace(verdict="lost", healed=0.0, healed_low=0.0)
        >>> verdict([cell] * 6 + [lost] * 6), verdict([cell] * 6 + [lost] * 2)
        ('holds', 'cannot be told')
    """
    found = counts(cells)
    (back, n), (lost_back, n_lost) = found["suppressed"], found["lost"]
    if min(n, n_lost) < FEWEST:
        return "cannot be told"
    if back / n <= lost_back / n_lost:
        return "does not hold"
    table = np.array([[back, n - back], [lost_back, n_lost - lost_back]])
    return "holds" if fisher_exact(table, alternative="greater").pvalue < 0.05 else "holds in part"


def summary(cells: Sequence[CuredCell]) -> str:
    """Return verdict, counts and cells as Markdown."""
    parts = [f"{back} of {n} *{name}*" for name, (back, n) in counts(cells).items() if n]
    known = [cell for cell in cells if not math.isnan(cell.recovery)]
    rho = spearmanr([cell.recovery for cell in known], [cell.healed for cell in known])
    lines = [
        f"**C9: {verdict(cells)}.** Of the cells called so, there come back: {', '.join(parts)}. "
        "Spearman's correlation over cells between recovery under the best conjugation and what "
        f"the best member heals: {rho.statistic:+.2f} (p = {rho.pvalue:.3f}, {len(known)} cells, "
        "which are not independent).",
        "",
        "| pair | cell | verdict | recovery by the best conjugation | best member that keeps the "
        "target | healed |",
        "|---|---|---|---:|---|---:|",
    ]
    for cell in cells:
        recovery = "" if math.isnan(cell.recovery) else f"{cell.recovery:.2f}"
        healed = f"{cell.healed:.2f}" if cell.member else ""
        row = (cell.pair, cell.name, cell.verdict, recovery, cell.member or "none", healed)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the summary."""
    sys.stdout.write(summary(read()) + "\n")


if __name__ == "__main__":
    main()
