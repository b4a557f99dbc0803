"""The rational observer beside the models of a sweep over tasks and steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.report.lab.factory import fake_lab_results

from palimpsest.errors import UserError
from palimpsest.lab.runs.observer import Observer, observe
from palimpsest.lab.runs.sweep import observe_sweep
from palimpsest.lab.runs.sweep_plan import run_name
from palimpsest.lab.runs.tables import correlations, observed_table
from palimpsest.records import LabResults, RunFolder

TRUE = Observer(gamma=0.2, discount=0.4, complexity=0.25)
GAPS = {4: 0.6, 16: 0.5, 64: 0.35, 256: 0.2, 1024: 0.12}
STEPS = (250, 1000, 5000, 20000)


def _row(n_tasks: int, n_steps: int, inside: float) -> dict[str, float]:
    return {
        "problem.n_tasks": n_tasks,
        "problem.n_dims": 8,
        "pretrain.n_steps": n_steps,
        "ridge_disc": 0.1 + GAPS[n_tasks],
        "discrete_disc": 0.1,
        "g_hat_discrete": inside,
        "g_hat_base": 0.5 * inside,
    }


def _made_up(noise: float = 0.0) -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    table = []
    for n_tasks, gap in GAPS.items():
        for n_steps in STEPS:
            evidence = TRUE.gamma * n_steps ** (1 - TRUE.discount) * gap
            odds = evidence - (32 * 8 * n_tasks) ** TRUE.complexity
            weight = 1 / (1 + np.exp(-odds)) + noise * rng.normal()
            table.append(_row(n_tasks, n_steps, weight))
    return table


def test_the_observer_that_made_the_weights_is_found_again() -> None:
    observed = observe(_made_up())
    assert observed.observer == pytest.approx(TRUE, rel=1e-3)
    assert observed.inside == pytest.approx(1)
    assert observed.outside == pytest.approx(1)  # half of it, and so in step with it
    assert observed.inside_held_out > 0.999


def test_what_was_held_out_is_told_apart_from_what_was_fitted() -> None:
    """One number of tasks that goes its own way is fitted better than it is foretold."""
    table = [
        row | {"g_hat_discrete": 0.9} if row["problem.n_tasks"] == 1024 else row
        for row in _made_up(noise=0.02)
    ]
    observed = observe(table)
    odd = observed.models.n_tasks == 1024
    missed, missed_held_out = (
        np.abs(column - observed.models.inside)[odd].mean()
        for column in (observed.expected, observed.held_out)
    )
    assert missed < missed_held_out
    assert observed.inside_held_out < observed.inside


def test_the_table_has_a_row_for_each_number_of_tasks_and_new_tasks_at_the_end() -> None:
    observed = observe(_made_up())
    head, _, first, *_ = observed_table(observed).splitlines()
    assert head.startswith("| M | 250 steps | 1,000 steps |")
    at_the_end = observed.models.inside[3]
    assert first.startswith("| 4 |")
    assert first.endswith(f"| {at_the_end / 2:.2f} |")
    assert "over 20 models: 1.000 on the M tasks" in correlations(observed)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ([], "Not every run"),
        (
            [{**row, "ridge_disc": None} for row in _made_up()],
            "Not every run .* has ridge_disc",
        ),
        ([row for row in _made_up() if row["problem.n_tasks"] < 64], "at least 3 numbers of tasks"),
        ([row for row in _made_up() if row["pretrain.n_steps"] == 250], "two or more lengths"),
    ],
)
def test_a_sweep_that_says_too_little_is_refused(table: list[dict[str, float]], words: str) -> None:
    with pytest.raises(UserError, match=words):
        observe(table)


def test_a_sweep_is_read_from_its_folder(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    over = {"problem.n_tasks": [*GAPS], "pretrain.n_steps": [*STEPS]}
    folder.record({"sweep": {"name": "s", "over": over}})
    for row in _made_up():
        results = fake_lab_results().model_dump(by_alias=True)
        by_name = {one["name"]: one for one in results["oracles"]}
        by_name["ridge"]["disc"] = row["ridge_disc"]
        by_name["discrete"]["disc"] = row["discrete_disc"]
        results["check"]["g_hat_discrete"]["value"] = row["g_hat_discrete"]
        results["provenance"]["config"] |= {
            "problem": {"n_dims": 8, "n_tasks": row["problem.n_tasks"]},
            "pretrain": {"n_steps": row["pretrain.n_steps"]},
        }
        text = LabResults.model_validate(results).to_json()
        name = run_name({key: row[key] for key in over})
        folder.write_text(f"runs/{name}/results.json", text)
    assert observe_sweep(tmp_path).observer == pytest.approx(TRUE, rel=1e-3)
