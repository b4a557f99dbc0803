"""How high can ρ come with few prompts, if their labels are known?

``python -m experiments.recommend_ceiling`` prints it.
The ranking of ``recommend_plan.md`` was judged on 60 prompts of Gemma against recoveries that 400
others show. Here the answers of ``real/tables/outcomes.csv`` are divided again and again: some
prompts, as many in each cell, play the few; the others the truth. Of the few two figures are taken
**with** labels, which no ranking without them can be expected to beat:

- *recovery*: what ``diagnose`` computes;
- *returned*: of the prompts that the base answers rightly and the tuned model does not, the share
  that it answers rightly under the conjugation. It is what the score counts, were the base's
  answers always right ones and the tuned model's other ones never.

The median of Spearman's ρ over the divisions is the ceiling that noise alone sets.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
from experiments.real.claims import DECIDES_AT, Model, correct, read
from experiments.recommend_check import Array, recovered_share, spearman

CONJUGATIONS = ("fr", "es", "nl", "de", "hu", "leet", "pig-latin")
N_FEW = (60, 120, 200)
"""Prompts over all cells; the others are the truth."""
N_DIVISIONS = 4000
GOAL = 0.9


class Right(NamedTuple):
    """Which prompts were answered rightly, a row a cell; (cells, prompts), and by conjugation."""

    base: Array
    tuned: Array
    under: Array
    """(conjugations, cells, prompts)."""

    def at(self, places: Array) -> Right:
        """Return those of some prompts, chosen in each cell; (cells, prompts)."""
        return Right(*(np.take_along_axis(each, self._fit(each, places), -1) for each in self))

    @staticmethod
    def _fit(values: Array, places: Array) -> Array:
        return np.broadcast_to(places, (*values.shape[:-1], places.shape[-1]))

    @property
    def recovery(self) -> Array:
        """The share of the fall that each conjugation reads back; (conjugations,)."""
        return recovered_share(self.base.mean(), self.tuned.mean(), self.under.mean(axis=(1, 2)))

    @property
    def returned(self) -> Array:
        """The share of the prompts that fell which come back; (conjugations,)."""
        fallen = self.base * (1 - self.tuned)
        return np.asarray((self.under * fallen).sum(axis=(1, 2)) / fallen.sum())


def of_seed(seed: int) -> Right:
    """Return the answers of Gemma and of one tuning of it."""
    outcomes = read()
    base = outcomes[Model("gemma3", "base", 0, 0)]
    tuned = outcomes[Model("gemma3", "gemma-full", seed, DECIDES_AT)]

    def cells(found: dict[str, str]) -> Array:
        return correct(found).reshape(len(found), -1)

    under = np.stack([cells(dict(tuned[name])) for name in CONJUGATIONS])
    return Right(cells(dict(base["en"])), cells(dict(tuned["en"])), under)


class Ceiling(NamedTuple):
    """What labels reach on a few prompts."""

    rho: tuple[float, float, float]
    """Median of Spearman's ρ, and its 2.5 and 97.5 % quantiles, over the divisions."""
    n_reached: float
    """Share of the divisions with ρ at the goal or above."""
    regret: float
    """Mean, in points: the true recovery of the best less that of the one that comes first."""


def ceiling(right: Right, n_few: int, figure: str, *, rng: np.random.Generator) -> Ceiling:
    """Divide the prompts many times, and rank conjugations by the few."""
    n_cells, n = right.base.shape
    few, truth = [], []
    for _ in range(N_DIVISIONS):
        order = np.argsort(rng.random((n_cells, n)), axis=1)
        few.append(getattr(right.at(order[:, : n_few // n_cells]), figure))
        truth.append(right.at(order[:, n_few // n_cells :]).recovery)
    scores, true = np.stack(few), np.stack(truth)
    rho = spearman(scores, true)
    chosen = true[np.arange(len(true)), scores.argmax(axis=1)]
    low, middle, high = np.nanquantile(rho, (0.025, 0.5, 0.975)).tolist()
    reached = float(np.mean(rho >= GOAL - 1e-9))
    return Ceiling((middle, low, high), reached, float(100 * (true.max(axis=1) - chosen).mean()))


def report() -> str:
    """Return the table in Markdown."""
    rng = np.random.default_rng(0)
    lines = [
        "| seed of tuning | labels' | few prompts | ρ, median (95 %) | "
        f"ρ ≥ {GOAL} | mean regret, points |",
        "|---|---|---:|---|---:|---:|",
    ]
    for seed in (101, 102, 103):
        right = of_seed(seed)
        for figure in ("recovery", "returned"):
            for n_few in N_FEW:
                found = ceiling(right, n_few, figure, rng=rng)
                middle, low, high = found.rho
                lines.append(
                    f"| {seed} | {figure} | {n_few} | {middle:.2f} ({low:.2f} to {high:.2f}) | "
                    f"{found.n_reached:.0%} | {found.regret:.0f} |"
                )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(report())
