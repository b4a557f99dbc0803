from __future__ import annotations

from typing import Any

import pytest

from palimpsest.errors import UserError
from palimpsest.lab.runs.config import PLAIN
from palimpsest.lab.runs.tables import claims_table
from palimpsest.lab.runs.tuning_claims import (
    OWN,
    OWN_NEW,
    REPLAYED,
    VALUES,
    WAYS,
    judge_ways,
)

AS_CLAIMED: dict[str, dict[str, float]] = {
    PLAIN: {"alpha_tuned": 0.99, "forgetting": 0.4, "bias_gain": 0.06, "learnt_disc": 0.02},
    OWN_NEW: {"alpha_tuned": 1.0, "forgetting": 0.9, "bias_gain": 0.2, "learnt_disc": 0.02},
    REPLAYED: {"alpha_tuned": 0.9, "forgetting": 0.1, "bias_gain": 0.01, "learnt_disc": 0.01},
    OWN: {"alpha_tuned": 0.9, "forgetting": 0.1, "bias_gain": 0.01, "learnt_disc": 0.01},
    VALUES: {"alpha_tuned": 0.7, "forgetting": 0.1, "bias_gain": 0.01, "learnt_disc": 0.015},
}
NEAR = {"nearest_minus_farthest_odds": 0.2}


def runs(
    changed: dict[str, dict[str, float]] | None = None, *, spread: float = 0.001
) -> list[dict[str, Any]]:
    """Three seeds of each way; changed are measures of some."""
    table = []
    for way in WAYS:
        values = NEAR | AS_CLAIMED[way] | (changed or {}).get(way, {})
        for seed in (3, 1, 2):
            row = {name: value + (seed - 2) * spread for name, value in values.items()}
            table.append({"seed": seed, "tuned_with": way, **row})
    return table


def verdicts(table: list[dict[str, Any]]) -> dict[str, str]:
    return {one.claim.name: one.verdict for one in judge_ways(table)}


def test_both_claims_hold_where_every_figure_is_as_claimed() -> None:
    assert verdicts(runs()) == {"C10": "holds", "C11": "holds"}


@pytest.mark.parametrize(
    ("name", "way", "changed", "expected"),
    [
        ("C10", OWN, {"alpha_tuned": 0.95}, "holds in part"),
        ("C10", PLAIN, {"alpha_tuned": 0.92}, "holds in part"),
        ("C10", OWN, {"bias_gain": 0.06}, "holds in part"),
        ("C10", OWN, {"nearest_minus_farthest_odds": 0.0}, "holds in part"),
        ("C10", OWN, {"alpha_tuned": 0.95, "bias_gain": 0.06}, "does not hold here"),
        ("C11", VALUES, {"forgetting": 0.2}, "holds in part"),
        ("C11", VALUES, {"learnt_disc": 0.008}, "holds in part"),
        ("C11", VALUES, {"forgetting": 0.4}, "does not hold here"),
        ("C11", VALUES, {"learnt_disc": 0.0}, "does not hold here"),
    ],
)
def test_a_claim_is_judged_by_the_ends_of_intervals(
    name: str, way: str, changed: dict[str, float], expected: str
) -> None:
    found = verdicts(runs({way: changed}))
    assert found[name] == expected
    assert {verdict for other, verdict in found.items() if other != name} == {"holds"}


def test_runs_that_disagree_decide_nothing() -> None:
    # The bias differs by as much in every seed: what is paired is judged by its differences.
    assert verdicts(runs(spread=0.2)) == {"C10": "holds in part", "C11": "does not hold here"}


def test_every_way_needs_every_seed() -> None:
    with pytest.raises(UserError, match="seed by seed"):
        list(judge_ways(runs()[:-1]))
    with pytest.raises(UserError, match="at least 3 seeds"):
        list(judge_ways([row for row in runs() if row["seed"] != 1]))


def test_direction_and_target_are_told_apart() -> None:
    direction, _ = judge_ways(runs())
    assert claims_table([direction]).count("own samples minus imitation, towards") == 6
    kept = direction.means["forgetting, own samples minus imitation, towards both tasks"]
    alone = direction.means["forgetting, own samples minus imitation, towards the discrete alone"]
    assert kept.mean == pytest.approx(0.0)
    assert alone.mean == pytest.approx(0.5)
