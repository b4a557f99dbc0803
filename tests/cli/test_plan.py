"""``palimpsest plan`` on pilots of a few prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Palimpsest, Scripted

from palimpsest.records.plans import EvaluationPlan
from palimpsest.records.results import Results


@pytest.fixture(scope="module")
def pilots(scripted: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of ten prompts: of a lost ability, and of one that is the same."""
    from palimpsest.judging import diagnose

    folder = tmp_path_factory.mktemp("pilots")
    for name in ("lost", "base"):
        diagnose(
            scripted.base, getattr(scripted, name), suite=f"{scripted.suite}", via=["rot13"],
            limit=10, out=folder / name, n_resamples=200,
        )  # fmt: skip
    return folder


def test_a_pilot_of_ten_prompts_says_what_a_verdict_takes_and_costs(
    palimpsest: Palimpsest, pilots: Path, tmp_path: Path
) -> None:
    out = tmp_path / "planned"
    ended = palimpsest(
        "plan", pilots / "lost", "--prompts", 50, "--runs", 20, "--out", out, "--quiet"
    )
    assert ended.code == 0, ended.err
    assert "(10 examples)" in ended.out
    found = EvaluationPlan.model_validate_json((out / "plan.json").read_bytes())
    assert found.assumed.vias == ["rot13"]
    assert [one.verdict for one in found.verdicts if one.is_assumed] == ["lost"]
    assert found.cost.n_questions == 4
    # As many as the pilot's ten prompts took; scripted models count no prompts.
    pilot = Results.model_validate_json((pilots / "lost" / "results.json").read_bytes())
    used = [info.usage.n_answer_tokens for info in (pilot.base, pilot.tuned) if info.usage]
    assert found.cost.n_answer_tokens == pytest.approx(sum(used) / 10)
    assert found.cost.n_prompt_tokens is None
    assert (out / "plan.csv").read_text("utf-8").startswith("verdict,is_assumed,base,")
    assert {path.name for path in (out / "figures").iterdir()} == {"plan.png", "plan.svg"}


@pytest.mark.slow
def test_a_plan_may_lie_in_the_folder_of_its_pilot_which_stays_a_run(
    palimpsest: Palimpsest, pilots: Path
) -> None:
    before = (pilots / "lost" / "run.json").read_bytes()
    ended = palimpsest(
        "plan", pilots / "lost", "-n", 50, "--runs", 20, "-o", pilots / "lost", "--json"
    )
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["schema"] == "palimpsest.plan/1"
    assert (pilots / "lost" / "run.json").read_bytes() == before


@pytest.mark.slow
def test_a_pilot_without_a_fall_plans_for_kept_and_says_how_to_plan_for_a_fall(
    palimpsest: Palimpsest, pilots: Path
) -> None:
    ended = palimpsest("plan", pilots / "base", "-n", 50, "--runs", 20, "--json")
    assert ended.code == 0, ended.err
    found = EvaluationPlan.model_validate_json(ended.out)
    assert [one.verdict for one in found.verdicts] == ["kept"]
    assert "Nothing fell in the pilot" in found.notes[0]
    assert "--fall 0.1" in found.notes[0]
    ended = palimpsest(
        "plan", pilots / "base", "--fall", 0.5, "--recovery", 0, "-n", 50, "--runs", 20, "--json"
    )
    found = EvaluationPlan.model_validate_json(ended.out)
    assert found.assumed.fall == pytest.approx(0.5)
    assert [one.verdict for one in found.verdicts if one.is_assumed] == ["lost"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fall", "0.99"], "more than the pilot's base model has to lose"),
        (["--base", "0.9"], "a pilot that says it"),
        (["--cell", "copi"], "The pilot has no cell 'copi'"),
        (["--prices", "prices.toml"], "neither model of the pilot costs anything"),
    ],
)
def test_what_a_pilot_contradicts_is_refused(
    palimpsest: Palimpsest,
    pilots: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prices.toml").write_text('[models."m"]\ninput = 1\noutput = 2\n', "utf-8")
    ended = palimpsest("plan", pilots / "lost", *arguments, "-n", 50, "--runs", 20)
    assert ended.code == 2
    assert message in ended.err


def test_contradicting_assumptions_end_with_what_to_assume(palimpsest: Palimpsest) -> None:
    ended = palimpsest("plan", "--base", 0.1, "--fall", 0.3)
    assert ended.code == 2
    assert "it is right on 10 % of the prompts" in ended.err
    assert "at most 0.1" in ended.err
