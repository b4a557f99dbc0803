"""The rule on evidence over time: claims are made on enough of it, and rarely ever wrongly."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from experiments.until_sure.simulated import BOUNDARIES, ever_claimed

from palimpsest.judging.populations import assumed_population
from palimpsest.judging.sequential import CellScores, Decision, decide, sequences, weigh
from palimpsest.stats.bootstrap import Array

ALL_PAST = {"s": True, "t": True}


def _cell(n: int, patterns: Mapping[str, float], vias: Sequence[str] = ("s",)) -> CellScores:
    """Return ``n`` examples with patterns of base, tuned, base under, tuned under, by share."""
    rows = [
        [float(mark == "1") for mark in pattern]
        for pattern, share in patterns.items()
        for _ in range(round(share * n))
    ]
    table: Array = np.array(rows)
    return CellScores(table[:, :2], dict.fromkeys(vias, table))


def _decided(cell: CellScores, past: Mapping[str, bool] = ALL_PAST) -> Decision:
    vias = list(cell.under)
    [found] = weigh([cell], vias)
    return decide(found, vias, past_inference=past)


HIDDEN, GONE, SAME = {"1011": 1.0}, {"1010": 1.0}, {"1111": 1.0}
HALF = {"1011": 0.35, "1010": 0.65}


@pytest.mark.parametrize(
    ("patterns", "n", "decision"),
    [
        (HIDDEN, 10, Decision(None, "recovery")),
        (HIDDEN, 20, Decision("suppressed", "back", "s")),
        (GONE, 15, Decision(None, "recovery", able=("s",))),
        (GONE, 40, Decision("lost", "little back", able=("s",))),
        (SAME, 60, Decision(None, "fall")),
        (SAME, 120, Decision("kept", "margin")),
        ({"0000": 1.0}, 10, Decision(None, "ability")),
        ({"0000": 1.0}, 100, Decision("inconclusive", "cannot")),
        (HALF, 2000, Decision("inconclusive", "between", able=("s",))),
        ({"1000": 1.0}, 60, Decision("inconclusive", "none able")),
    ],
)
def test_a_claim_is_made_once_there_is_enough_evidence_and_not_before(
    patterns: Mapping[str, float], n: int, decision: Decision
) -> None:
    assert _decided(_cell(n, patterns)) == decision


def test_failures_that_are_another_abilitys_answers_show_no_loss() -> None:
    found = _decided(_cell(60, GONE), {"s": False})
    assert (found.verdict, found.why) == ("inconclusive", "other ability")


def test_without_a_conjugation_a_fall_is_decided_to_be_inconclusive() -> None:
    cell = CellScores(np.tile([1.0, 0.0], (30, 1)), {})
    assert _decided(cell) == Decision("inconclusive", "no conjugation")


def test_of_two_conjugations_a_loss_has_to_be_shown_under_both_and_choosing_costs() -> None:
    table = _cell(40, GONE).under["s"]
    some = CellScores(table[:, :2], {"s": table, "t": table[:10]})
    assert _decided(some).verdict is None
    assert _decided(CellScores(table[:, :2], {"s": table, "t": table})).verdict == "lost"
    for n in (12, 13):
        back = _cell(n, HIDDEN)
        alone = CellScores(back.plain, {"s": back.under["s"]})
        both = CellScores(back.plain, {"s": back.under["s"], "t": np.zeros((0, 4))})
        assert (_decided(alone).verdict, _decided(both).verdict) in {
            ("suppressed", None), (None, None),
        }  # fmt: skip


def test_many_cells_at_once_are_those_one_by_one_and_graded_scores_are_judged_as_binary_ones() -> (
    None
):
    rng = np.random.default_rng(0)
    cells = []
    for _ in range(5):
        table = (rng.random((50, 4)) < 0.6).astype(float)
        cells.append(CellScores(table[:, :2], {"s": table[:30], "t": table[:20]}))
    together = weigh(cells, ["s", "t"])
    for cell, mine in zip(cells, together, strict=True):
        [alone] = weigh([cell], ["s", "t"])
        for one, other in zip(mine, alone, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
    graded = np.array([[1.0, 0.5, 1.0, 0.95]] * 60)
    assert _decided(CellScores(graded[:, :2], {"s": graded})).verdict == "suppressed"


def test_the_sequences_agree_with_the_claims() -> None:
    """A claim about one conjugation alone is made when the sequence lies on one side."""
    population = assumed_population([(0.95, 0.4), (0.95, 0.85)], ["s"])
    drawn = population.draw(200, np.random.default_rng(3))
    columns = [(role, via) for via in ("identity", "s") for role in ("base", "tuned")]
    table = np.column_stack([drawn.scores(*column, drawn.sources) for column in columns])
    for n in range(10, 200, 10):
        cell = CellScores(table[:n, :2], {"s": table[:n]})
        [found] = weigh([cell], ["s"])
        now = sequences(cell, n_vias=1)
        enough = math.log(40)
        assert (found.within_margin >= enough) == (now.fall[1] < 0.05)
        low = now.under["s"].recovery.low
        if low is not None and abs(low - 0.5) > 0.01:  # the step of its grid
            assert (found.more_than_half[0] >= enough) == (low > 0.5)
        assert now.base[0] <= cell.plain[:, 0].mean() <= now.base[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDARIES)
def test_no_boundary_is_crossed_at_any_time_oftener_than_nominal(name: str) -> None:
    n_runs = 600
    found = ever_claimed(name, n_runs=n_runs, n=200, seed=17)
    # Claims are one-sided: 2.5 %, and three standard errors of so many runs.
    assert found.share <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / n_runs)


@pytest.mark.slow
def test_a_round_decides_a_hundred_cells_in_less_than_fifty_milliseconds() -> None:
    rng = np.random.default_rng(1)
    vias = [f"s{k}" for k in range(8)]
    cells = []
    for _ in range(100):
        table = (rng.random((300, 4)) < 0.7).astype(float)
        cells.append(CellScores(table[:, :2], dict.fromkeys(vias, table)))
    past = dict.fromkeys(vias, True)
    spent = []
    for _ in range(5):
        start = time.process_time()
        [decide(found, vias, past_inference=past) for found in weigh(cells, vias)]
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05
