"""Verdicts from the tables: ``python -m experiments.cure.claims`` prints them.

C9 from ``tables/cells.csv``, by the rule in README.md; whether a healing pays from
``tables/healing.csv`` and ``healing-verdicts.csv``, by the rule in HEALING.md. Both were written
before the runs.
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


def healing_summary() -> str:
    """Return what the tables say of healings as Markdown: verdicts, and a line for each model."""
    parts = [_healing_verdict(row) for row in _rows("healing-verdicts.csv")]
    parts.append("")
    parts += [
        "| pair | model | kept, % | target, points | processor seconds |",
        "|---|---|---:|---:|---:|",
    ]
    for row in _rows("healing.csv"):
        kept, target = (_with_ends(row, *names) for names in _ESTIMATES)
        parts.append(
            f"| {row['pair']} | {row['member']} | {kept} | {target} | {row['cpu_seconds']} |"
        )
    return "\n".join(parts)


_ESTIMATES = (
    ("kept", "kept_low", "kept_high"),
    ("target_change", "target_low", "target_high"),
)


def _rows(name: str) -> list[dict[str, str]]:
    with (TABLE.parent / name).open(newline="") as file:
        return list(csv.DictReader(file))


def _healing_verdict(row: Mapping[str, str]) -> str:
    healed, other, low, high = (
        100 * float(row[name]) for name in ("kept_healed", "kept_other", "low", "high")
    )
    return (
        f"- `{row['pair']}`, {100 * float(row['margin']):.0f} points: **{row['outcome']}**. "
        f"{row['n_within']} of {row['n_seeds']} seeds are within the margin; they all keep "
        f"{healed:.0f} % on average, the best other that is within it, `{row['other']}`, "
        f"{other:.0f} %: a difference of {healed - other:+.0f} points ({low:+.0f} to {high:+.0f})."
    )


def _with_ends(row: Mapping[str, str], *names: str) -> str:
    value, low, high = (100 * float(row[name]) for name in names)
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    """Print the summaries."""
    sys.stdout.write(f"{summary(read())}\n\n{healing_summary()}\n")


if __name__ == "__main__":
    main()
