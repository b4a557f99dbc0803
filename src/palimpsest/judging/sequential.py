"""The rule of the verdicts on evidence that may be looked at at any time.

The claims are those of ``verdicts.py``; in place of intervals for a fixed number of prompts, each
is held against bets (:mod:`palimpsest.stats.evidence`): it is made as soon as whoever bet on it has
made 2/α of 1, which happens by chance, at whatever time one looks, with at most α/2. What is said
of the best of k conjugations has to make k times as much.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from palimpsest.records import THRESHOLDS, Verdict
from palimpsest.stats import (
    Array,
    OpenInterval,
    Side,
    anytime_p_value,
    coin_log_wealth,
    is_binary,
    log_wealth,
    mean_sequence,
    share_log_wealth,
    share_sequence,
)

_BASE, _TUNED, _BASE_UNDER, _TUNED_UNDER = range(4)
_SIDES: tuple[Side, Side] = ("greater", "less")


class CellScores(NamedTuple):
    """Scores of both models in one cell, a row an example, from 0 to 1."""

    plain: Array
    """(n, 2): base and tuned, asked plainly."""
    under: Mapping[str, Array]
    """By conjugation, (n, 4): base and tuned plainly, base and tuned under it."""


class Weights(NamedTuple):
    """The log of what each bettor's 1 has become, in one cell or in many."""

    can: Array
    """Base accuracy above the least that counts as an ability; () in one cell, (n,) in many."""
    cannot: Array
    """Below it."""
    fell: Array
    """Tuned below base."""
    within_margin: Array
    """A fall of less than the margin."""
    more_than_half: Array
    """Of the fall comes back; (n_vias,) or (n, n_vias), as all that follow."""
    less_than_half: Array
    less_than_quarter: Array
    more_than_quarter: Array
    gains_more: Array
    """The tuned model than the base under it."""
    able: Array
    """The base keeps the ability under it."""
    unable: Array


class Decision(NamedTuple):
    """What the evidence says of a cell as of now."""

    verdict: Verdict | None
    """``None`` where it does not say yet."""
    why: str
    """What is decided or still open, by a word."""
    via: str | None = None
    """Under which a suppressed ability comes back."""
    able: tuple[str, ...] = ()
    """Under which the base keeps the ability."""


def weigh(
    cells: Sequence[CellScores],
    vias: Sequence[str],
    *,
    margin: float = THRESHOLDS.kept_margin,
    floors: Sequence[float] | None = None,
) -> list[Weights]:
    """Return the evidence in each cell.

    Args:
        cells: The scores.
        vias: The conjugations, in the order of the arrays.
        margin: The largest fall that counts as kept.
        floors: The accuracy that the base must exceed, by cell.
    """
    limits = [THRESHOLDS.ability_floor] * len(cells) if floors is None else list(floors)
    tables = [table for cell in cells for table in (cell.plain, *cell.under.values())]
    if all(is_binary(table) for table in tables):
        return _split(weigh_counts(*_binary_counts(cells, vias), margin, np.array(limits)))
    found = []
    for cell, floor in zip(cells, limits, strict=True):
        patterns, counts = _graded_counts(cell, vias)
        found += _split(weigh_counts(*patterns, *counts, margin, np.array([floor])))
    return found


def _binary_counts(
    cells: Sequence[CellScores], vias: Sequence[str]
) -> tuple[Array, Array, Array, Array]:
    """Return all patterns of right and wrong, and how often each is in each cell."""
    plain = np.array(list(itertools.product((0.0, 1.0), repeat=2)))
    under = np.array(list(itertools.product((0.0, 1.0), repeat=4)))
    n_plain = np.stack([_counted(cell.plain) for cell in cells])
    none = np.zeros((0, 4))
    n_under = np.zeros((len(cells), len(vias), len(under)))
    for at, cell in enumerate(cells):
        for k, via in enumerate(vias):
            n_under[at, k] = _counted(cell.under.get(via, none))
    return plain, under, n_plain, n_under


def _counted(table: Array) -> Array:
    width = table.shape[1]
    codes = (table @ (2.0 ** np.arange(width)[::-1])).astype(np.intp)
    return np.bincount(codes, minlength=2**width).astype(np.float64)


def _graded_counts(
    cell: CellScores, vias: Sequence[str]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return the patterns of one cell, and how often each is there."""
    plain, n_plain = np.unique(cell.plain, axis=0, return_counts=True)
    rows = [cell.under.get(via, np.zeros((0, 4))) for via in vias]
    stacked = np.concatenate([*rows, np.zeros((1, 4))])  # at least one pattern
    under, index = np.unique(stacked, axis=0, return_inverse=True)
    index = index.reshape(-1)
    n_under = np.zeros((1, len(vias), len(under)))
    start = 0
    for k, table in enumerate(rows):
        part = index[start : start + len(table)]
        n_under[0, k] = np.bincount(part, minlength=len(under))
        start += len(table)
    if not len(plain):
        plain, n_plain = np.zeros((1, 2)), np.zeros(1, dtype=np.intp)
    return (plain, under), (n_plain[None].astype(np.float64), n_under)


def _split(found: Weights) -> list[Weights]:
    return [Weights(*each) for each in zip(*found, strict=True)]


def weigh_counts(
    plain: Array, under: Array, n_plain: Array, n_under: Array, margin: float, floors: Array
) -> Weights:
    """Return the evidence of many cells whose answers have the same patterns.

    Args:
        plain: Patterns of base and tuned; (n_plain_patterns, 2).
        under: Of base and tuned plainly, base and tuned under a conjugation; (n_patterns, 4).
        n_plain: How often each is in each cell; (n, n_plain_patterns).
        n_under: And under each conjugation; (n, n_vias, n_patterns).
        margin: The largest fall that counts as kept.
        floors: The accuracy that the base must exceed; (n,).
    """
    base, fall = plain[:, _BASE], plain[:, _BASE] - plain[:, _TUNED]
    can, cannot = (
        log_wealth(base, n_plain, low=0, high=1, mean=floors, side=side) for side in _SIDES
    )
    within = log_wealth(fall, n_plain, low=-1, high=1, mean=margin, side="less")
    if is_binary(plain):
        fell = coin_log_wealth(n_plain @ (fall > 0), n_plain @ (fall < 0))
    else:
        fell = log_wealth(fall, n_plain, low=-1, high=1)
    lost = under[:, _BASE] - under[:, _TUNED]
    gain = under[:, _TUNED_UNDER] - under[:, _TUNED]
    half, quarter = THRESHOLDS.suppressed_above, THRESHOLDS.lost_below
    shares = [
        share_log_wealth(gain, lost, n_under, share=share, side=side)
        for share, side in (
            (half, _SIDES[0]), (half, _SIDES[1]), (quarter, _SIDES[1]), (quarter, _SIDES[0]),
        )
    ]  # fmt: skip
    more = gain - (under[:, _BASE_UNDER] - under[:, _BASE])
    gains_more = log_wealth(more, n_under, low=-2, high=2)
    half_way = (1 - half) * under[:, _TUNED] + half * under[:, _BASE]
    keeps = under[:, _BASE_UNDER] - half_way
    able, unable = (log_wealth(keeps, n_under, low=-1, high=1, side=side) for side in _SIDES)
    more_half, less_half, less_quarter, more_quarter = shares
    return Weights(
        can=can,
        cannot=cannot,
        fell=fell,
        within_margin=within,
        more_than_half=more_half,
        less_than_half=less_half,
        less_than_quarter=less_quarter,
        more_than_quarter=more_quarter,
        gains_more=gains_more,
        able=able,
        unable=unable,
    )


def decide(
    found: Weights,
    vias: Sequence[str],
    *,
    past_inference: Mapping[str, bool],
    alpha: float = THRESHOLDS.alpha,
) -> Decision:
    """Return what the evidence of a cell says; the first rule that applies.

    Args:
        found: The evidence.
        vias: The conjugations, in its order.
        past_inference: Under which the tuned model's errors are mostly not another ability's.
        alpha: Twice the chance that a claim is ever made wrongly.
    """
    enough = math.log(2 / alpha)
    if found.cannot >= enough:
        return Decision("inconclusive", "cannot")
    if found.can < enough:
        return Decision(None, "ability")
    if found.within_margin >= enough:
        return Decision("kept", "margin")
    if found.fell < enough:
        return Decision(None, "fall")
    if not vias:
        return Decision("inconclusive", "no conjugation")
    return _hidden_or_lost(found, vias, past_inference, enough)


def _hidden_or_lost(
    found: Weights, vias: Sequence[str], past_inference: Mapping[str, bool], enough: float
) -> Decision:
    """Return what the evidence says of a clear fall."""
    together = enough + math.log(len(vias))
    back = (found.more_than_half >= together) & (found.gains_more >= together)
    if back.any():
        best = int(np.argmax(np.where(back, found.more_than_half, -np.inf)))
        return Decision("suppressed", "back", vias[best])
    able, unable = found.able >= together, found.unable >= together
    names = tuple(via for via, each in zip(vias, able, strict=True) if each)
    if unable.all():
        return Decision("inconclusive", "none able")
    little = found.less_than_quarter >= enough
    if (little | unable).all() and (little & able).any():
        if any(past_inference[name] for name in names):
            return Decision("lost", "little back", able=names)
        return Decision("inconclusive", "other ability", able=names)
    more = (able & (found.more_than_quarter >= enough)).any()
    if more and (found.less_than_half >= together).all():
        return Decision("inconclusive", "between", able=names)
    return Decision(None, "recovery", able=names)


class ViaSequences(NamedTuple):
    """Confidence sequences under one conjugation, as of now."""

    base: tuple[float, float]
    tuned: tuple[float, float]
    recovery: OpenInterval
    """Holds with those of all other conjugations together; as ``did``."""
    did: tuple[float, float]
    p_value: float
    """Of the tuned model, plainly against under it."""


class Sequences(NamedTuple):
    """Confidence sequences in one cell, as of now."""

    base: tuple[float, float]
    tuned: tuple[float, float]
    fall: tuple[float, float]
    p_value: float
    under: Mapping[str, ViaSequences]


def sequences(cell: CellScores, *, n_vias: int, alpha: float = THRESHOLDS.alpha) -> Sequences:
    """Return the confidence sequences of a cell; each holds at all times with 1 − alpha.

    Args:
        cell: The scores; there are some.
        n_vias: Conjugations, over which recoveries hold together.
        alpha: The chance that one ever misses.
    """
    base, tuned = cell.plain.T
    return Sequences(
        base=_ends(base, 0, 1, alpha),
        tuned=_ends(tuned, 0, 1, alpha),
        fall=_ends(base - tuned, -1, 1, alpha),
        p_value=_p_value(base - tuned),
        under={
            via: _under(table, alpha, alpha / max(n_vias, 1))
            for via, table in cell.under.items()
            if len(table)
        },
    )


def _under(table: Array, alpha: float, together: float) -> ViaSequences:
    base, tuned, base_under, tuned_under = table.T
    return ViaSequences(
        base=_ends(base_under, 0, 1, alpha),
        tuned=_ends(tuned_under, 0, 1, alpha),
        recovery=share_sequence(
            tuned_under - tuned, base - tuned, np.ones(len(table)), alpha=together
        ),
        did=_ends((tuned_under - tuned) - (base_under - base), -2, 2, together),
        p_value=_p_value(tuned_under - tuned),
    )


def _ends(values: Array, low: float, high: float, alpha: float) -> tuple[float, float]:
    distinct, counts = np.unique(values, return_counts=True)
    found = mean_sequence(distinct, counts[None], low=low, high=high, alpha=alpha)
    return float(found[0][0]), float(found[1][0])


def _p_value(differences: Array) -> float:
    """Return the p-value of a mean difference, valid at any time."""
    up, down = int(np.sum(differences > 0)), int(np.sum(differences < 0))
    if is_binary(np.abs(differences)):
        return float(anytime_p_value([coin_log_wealth(up, down), coin_log_wealth(down, up)]))
    distinct, counts = np.unique(differences, return_counts=True)
    sides = [log_wealth(distinct, counts, low=-1, high=1, side=side) for side in _SIDES]
    return float(anytime_p_value(sides))
