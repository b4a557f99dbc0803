"""Runs at the boundaries of the rule, looked at after every example."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from palimpsest.judging.populations import Population, assumed_population
from palimpsest.judging.sequential import Weights, decide, weigh_counts
from palimpsest.records import THRESHOLDS, Verdict
from palimpsest.stats import (
    Array,
    Interval,
    Side,
    coin_log_wealth,
    log_wealth,
    share_log_wealth,
    wilson_interval,
)

PLAIN = np.array(list(itertools.product((0.0, 1.0), repeat=2)))
UNDER = np.array(list(itertools.product((0.0, 1.0), repeat=4)))
_AT_ONCE = 100
_SIDES: tuple[Side, Side] = ("greater", "less")


class Boundary(NamedTuple):
    """A truth at which some verdict is just wrong."""

    plain: tuple[float, float]
    """Accuracies of base and tuned."""
    under: tuple[tuple[float, float], ...]
    """The same under each conjugation."""
    wrong: frozenset[Verdict]


HALF, QUARTER = (0.95, 0.625), (0.95, 0.3125)
BOUNDARIES: Mapping[str, Boundary] = {
    "no fall, base 80 %": Boundary(
        (0.8, 0.8), ((0.8, 0.8),) * 3, frozenset({"suppressed", "lost"})
    ),
    "no fall, base 98 %": Boundary(
        (0.98, 0.98), ((0.9, 0.9),) * 3, frozenset({"suppressed", "lost"})
    ),
    "a fall of the margin": Boundary((0.9, 0.85), ((0.9, 0.85),), frozenset({"kept"})),
    "half comes back, under each of three": Boundary(
        (0.95, 0.3), (HALF,) * 3, frozenset({"suppressed"})
    ),
    "a quarter comes back, under the only one": Boundary(
        (0.95, 0.1), (QUARTER,), frozenset({"lost"})
    ),
    "a quarter comes back, under one of three": Boundary(
        (0.95, 0.1), (QUARTER, (0.95, 0.1), (0.95, 0.1)), frozenset({"lost"})
    ),
}


class Share(NamedTuple):
    """A share of the runs."""

    share: float
    n_runs: int
    ci95: Interval


def _share(n: int, n_runs: int) -> Share:
    return Share(n / n_runs, n_runs, wilson_interval(n, n_runs))


def _counts(
    population: Population, n_vias: int, n_runs: int, n: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return how often each pattern was there after 1, 2, … ``n`` examples of each run."""
    place = np.searchsorted(np.cumsum(population.shares), rng.random((n_runs, n)), side="right")
    drawn = population.scores[np.minimum(place, len(population.shares) - 1)]  # (runs, n, columns)
    plain = np.cumsum(np.eye(4)[(drawn[..., :2] @ [2, 1]).astype(int)], axis=1)
    under = []
    for k in range(n_vias):
        table = drawn[..., [0, 1, 2 * k + 2, 2 * k + 3]]
        under.append(np.cumsum(np.eye(16)[(table @ [8, 4, 2, 1]).astype(int)], axis=1))
    return plain, np.stack(under, axis=2)


def ever_claimed(name: str, *, n_runs: int, n: int, seed: int) -> Share:
    """Return in which share of runs a wrong verdict would be given after any number of examples.

    Args:
        name: Of the boundary.
        n_runs: Runs.
        n: Examples of each of them.
        seed: Of the draws.
    """
    boundary, rng = BOUNDARIES[name], np.random.default_rng([seed, len(name)])
    n_vias = len(boundary.under)
    vias = [f"s{k}" for k in range(n_vias)]
    population = assumed_population([boundary.plain, *boundary.under], vias)
    n_wrong = 0
    for start in range(0, n_runs, _AT_ONCE):
        size = min(_AT_ONCE, n_runs - start)
        plain, under = _counts(population, n_vias, size, n, rng)
        flat = plain.reshape(size * n, 4), under.reshape(size * n, n_vias, 16)
        n_wrong += len(_runs_with(*flat, boundary.wrong, vias, n))
    return _share(n_wrong, n_runs)


def _runs_with(
    plain: Array, under: Array, wrong: frozenset[Verdict], vias: list[str], n: int
) -> set[int]:
    """Return the runs in which a wrong verdict would be given at some time."""
    at = np.flatnonzero(_may_be_wrong(plain, under, wrong))
    if not len(at):
        return set()
    found = weigh_counts(
        PLAIN,
        UNDER,
        plain[at],
        under[at],
        THRESHOLDS.kept_margin,
        np.full(len(at), THRESHOLDS.ability_floor),
    )
    past = dict.fromkeys(vias, True)
    runs: set[int] = set()
    for place, one in zip(at // n, map(Weights._make, zip(*found, strict=True)), strict=True):
        if place not in runs and decide(one, vias, past_inference=past).verdict in wrong:
            runs.add(int(place))
    return runs


def _may_be_wrong(plain: Array, under: Array, wrong: frozenset[Verdict]) -> Array:
    """Say of each moment whether the claim is made without which no wrong verdict is given."""
    enough = math.log(2 / THRESHOLDS.alpha)
    fall = PLAIN[:, 0] - PLAIN[:, 1]
    if "kept" in wrong:
        margin = THRESHOLDS.kept_margin
        bets = log_wealth(fall, plain, low=-1, high=1, mean=margin, side="less")
        return np.asarray(bets >= enough)
    fell = coin_log_wealth(plain @ (fall > 0), plain @ (fall < 0)) >= enough
    if len(wrong) > 1 or not fell.any():
        return np.asarray(fell)
    lost, gain = UNDER[:, 0] - UNDER[:, 1], UNDER[:, 3] - UNDER[:, 1]
    share, side = (0.5, _SIDES[0]) if "suppressed" in wrong else (0.25, _SIDES[1])
    wealth = share_log_wealth(gain, lost, under, share=share, side=side)
    return np.asarray(fell & (wealth >= enough).any(axis=1))


def ever_missed(name: str, *, n_runs: int, n: int, seed: int) -> dict[str, Share]:
    """Return in which share of runs a confidence sequence ever misses the truth.

    Args:
        name: Of the boundary.
        n_runs: Runs.
        n: Examples of each of them.
        seed: Of the draws.
    """
    boundary, rng = BOUNDARIES[name], np.random.default_rng([seed, len(name), 1])
    n_vias = len(boundary.under)
    population = assumed_population(
        [boundary.plain, *boundary.under], [f"s{k}" for k in range(n_vias)]
    )
    fall = boundary.plain[0] - boundary.plain[1]
    lost, gain = UNDER[:, 0] - UNDER[:, 1], UNDER[:, 3] - UNDER[:, 1]
    missed = {"fall": 0, "recovery": 0}
    for start in range(0, n_runs, _AT_ONCE):
        size = min(_AT_ONCE, n_runs - start)
        plain, under = _counts(population, n_vias, size, n, rng)
        out = np.zeros(size, dtype=bool)
        some = np.zeros(size, dtype=bool)
        for side in _SIDES:
            bets = log_wealth(
                PLAIN[:, 0] - PLAIN[:, 1], plain, low=-1, high=1, mean=fall, side=side
            )
            out |= (bets >= math.log(2 / THRESHOLDS.alpha)).any(axis=1)
            for k in range(n_vias if fall else 0):
                share = (boundary.under[k][1] - boundary.plain[1]) / fall
                wealth = share_log_wealth(gain, lost, under[:, :, k], share=share, side=side)
                some |= (wealth >= math.log(2 * n_vias / THRESHOLDS.alpha)).any(axis=1)
        missed["fall"] += int(out.sum())
        missed["recovery"] += int(some.sum())
    if not fall:
        del missed["recovery"]
    return {what: _share(number, n_runs) for what, number in missed.items()}
