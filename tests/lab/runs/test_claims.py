from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.report.lab.factory import fake_lab_results

from palimpsest.errors import UserError
from palimpsest.lab.runs.claims import CLAIMS, judge_claims
from palimpsest.lab.runs.measures import MEASURES, measures_of
from palimpsest.lab.runs.sweep import judge_sweep, table_of
from palimpsest.lab.runs.sweep_plan import combinations, run_name
from palimpsest.lab.runs.tables import claims_table, rules_list
from palimpsest.lab.runs.tuning_claims import WAYS
from palimpsest.records.run_folder import RunFolder

ALL_HOLD = {
    "share_of_mixture": 0.04,
    "g_hat_discrete": 0.95,
    "g_hat_mixture": 1.0,
    "learnt_disc": 0.1,
    "forgetting": 0.4,
    "steps_to_half": 20.0,
    "nearest_minus_farthest": 0.3,
    "nearest_minus_farthest_odds": 0.3,
    "inference_share": 0.7,
    "bias_share": 0.1,
    "overlap_share": 0.0,
    "variance_share": 0.2,
    "alpha_gain": 0.3,
    "g_hat_gain": 0.2,
    "recovery_scaling": 0.6,
    "net_recovery_scaling": 0.5,
    "recovery_scaling_few": 0.7,
    "recovery": 0.9,
    "net_recovery": 0.6,
    "recovery_rotation": 0.0,
}


def runs(spread: float = 0.001, **changed: float) -> list[dict[str, float]]:
    """Three runs around the values; the half interval is 2.48 times the spread."""
    values = ALL_HOLD | changed
    return [{name: value + at * spread for name, value in values.items()} for at in (-1, 0, 1)]


def verdicts(table: list[dict[str, float]]) -> dict[str, str]:
    return {one.claim.name: one.verdict for one in judge_claims(table)}


def test_all_claims_hold_where_every_figure_is_as_claimed() -> None:
    assert verdicts(runs()) == dict.fromkeys(("C1", "C2", "C3", "C4", "C5"), "holds")


@pytest.mark.parametrize(
    ("name", "changed", "expected"),
    [
        ("C1", {"share_of_mixture": 0.059}, "holds in part"),
        ("C1", {"share_of_mixture": 0.15}, "holds in part"),
        ("C1", {"share_of_mixture": 0.3}, "does not hold here"),
        ("C1", {"g_hat_discrete": 0.4}, "does not hold here"),
        ("C2", {"learnt_disc": 0.0}, "holds in part"),
        ("C2", {"learnt_disc": -0.1, "forgetting": 0.0}, "does not hold here"),
        ("C3", {"nearest_minus_farthest": -0.2}, "holds in part"),
        (
            "C3",
            {"nearest_minus_farthest": 0.0, "nearest_minus_farthest_odds": -0.2},
            "does not hold here",
        ),
        ("C4", {"inference_share": 0.5}, "holds in part"),
        ("C4", {"inference_share": 0.4, "bias_share": 0.5}, "does not hold here"),
        ("C4", {"inference_share": 0.4, "alpha_gain": 0.0}, "does not hold here"),
        ("C5", {"recovery_scaling": 0.3}, "holds in part"),
        ("C5", {"net_recovery_scaling": 0.0}, "holds in part"),
        ("C5", {"recovery_scaling": -0.1}, "holds in part"),
        ("C5", {"recovery_scaling": -0.1, "recovery_scaling_few": 0.0}, "does not hold here"),
    ],
)
def test_a_claim_is_judged_by_the_ends_of_intervals(
    name: str, changed: dict[str, float], expected: str
) -> None:
    found = verdicts(runs(**changed))
    assert found[name] == expected
    assert {verdict for other, verdict in found.items() if other != name} == {"holds"}


def test_runs_that_disagree_decide_nothing() -> None:
    assert "holds" not in verdicts(runs(spread=1.0)).values()


def test_two_runs_are_too_few() -> None:
    with pytest.raises(UserError, match="at least 3 runs with different seeds; got 2"):
        list(judge_claims(runs()[:2]))


def test_an_undefined_figure_is_named() -> None:
    table: list[dict[str, Any]] = [*runs()[:2], {**runs()[2], "recovery": None}]
    with pytest.raises(UserError, match="1 of 3 runs have no 'recovery'"):
        list(judge_claims(table))


def test_the_table_shows_every_figure_with_its_interval() -> None:
    text = claims_table(list(judge_claims(runs(nearest_minus_farthest=-0.2))))
    assert len(text.splitlines()) == 2 + len(CLAIMS)
    shown = [MEASURES[name] for claim in CLAIMS for name in claim.measures]
    assert all(one in text for one in shown)
    assert "−0.200 [−0.202, −0.198]" in text
    assert len(rules_list().splitlines()) == len(CLAIMS)


def _sweep(folder: Path, **over: Sequence[int] | Sequence[str]) -> Path:
    """A folder as a sweep leaves it, with made-up runs."""
    target = RunFolder.create(folder)
    target.record(
        {"sweep": {"name": "s", "over": {key: [*values] for key, values in over.items()}}}
    )
    for varied in combinations(over):
        results = fake_lab_results()
        results.provenance.config.update(varied)
        target.write_text(f"runs/{run_name(varied)}/results.json", results.to_json())
    return folder


def test_a_sweep_over_seeds_is_judged_by_all_of_its_runs(tmp_path: Path) -> None:
    judged = judge_sweep(_sweep(tmp_path / "out", seed=[1, 2, 3]))
    assert [one.claim.name for one in judged] == ["C1", "C2", "C3", "C4", "C5"]
    assert {one.n_runs for one in judged} == {3}
    one = measures_of(fake_lab_results())["forgetting"]
    assert judged[1].means["forgetting"].mean == pytest.approx(one)


def test_a_sweep_that_is_not_finished_is_not_judged_and_the_missing_runs_are_named(
    tmp_path: Path,
) -> None:
    folder = _sweep(tmp_path / "out", seed=range(5))
    for seed in (1, 4):
        (folder / f"runs/seed={seed}/results.json").unlink()
    with pytest.raises(UserError, match="2 of 5 runs are missing, 'seed=1', 'seed=4'"):
        judge_sweep(folder)


def test_runs_outside_the_plan_are_no_part_of_a_sweep(tmp_path: Path) -> None:
    folder = _sweep(tmp_path / "out", seed=range(5))
    _sweep(folder, seed=[0, 2, 3])
    assert {one.n_runs for one in judge_sweep(folder)} == {3}
    assert [row["seed"] for row in table_of(RunFolder.find(folder))] == [0, 2, 3]


def test_a_sweep_over_ways_of_tuning_is_judged_for_c10_and_c11(tmp_path: Path) -> None:
    folder = _sweep(tmp_path / "out", seed=[1, 2, 3], tuned_with=[*WAYS])
    assert [one.claim.name for one in judge_sweep(folder)] == ["C10", "C11"]


def test_a_sweep_over_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"varies finetune\.n_steps"):
        judge_sweep(_sweep(tmp_path / "out", seed=[1], **{"finetune.n_steps": [2, 3]}))
