from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.cli.conftest import Palimpsest

pytestmark = pytest.mark.usefixtures("empty_figures")

N = 100
RIGHT, WRONG = [1.0] * N, [0.0] * N


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tables of models that keep, hide and lose."""
    monkeypatch.chdir(tmp_path)
    write("base.csv", RIGHT)
    write("tuned.csv", WRONG)
    write("some.csv", RIGHT[: N // 2])
    return tmp_path


def write(name: str, scores: Sequence[float], **columns: object) -> None:
    rows = [{"id": f"q{i}", "score": score, **columns} for i, score in enumerate(scores)]
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_two_tables_are_compared_and_the_folder_has_what_diagnose_writes(
    here: Path, palimpsest: Palimpsest
) -> None:
    ended = palimpsest("compare", "base.csv", "base.csv")
    assert ended.code == 0
    assert "Verdict: kept. Accuracy did not change" in ended.out
    assert "Report: palimpsest-compare/report.html" in ended.out
    names = {path.name for path in (here / "palimpsest-compare").iterdir()}
    wanted = {"report.html", "results.json", "table.csv", "cells.csv", "answers.sqlite", "run.json"}
    assert wanted <= names
    again = palimpsest("report", "palimpsest-compare")
    assert again.code == 0


@pytest.mark.slow
def test_conjugated_logs_show_what_is_hidden(here: Path, palimpsest: Palimpsest) -> None:
    ended = palimpsest(
        *("compare", "base.csv", "tuned.csv", "--conjugated", "leet=base.csv,base.csv"),
        *("--fail-on", "forgotten"),
    )
    assert ended.code == 3
    assert "Verdict: suppressed" in ended.out


@pytest.mark.slow
def test_a_clear_fall_alone_can_fail_a_build(here: Path, palimpsest: Palimpsest) -> None:
    codes = [
        palimpsest("compare", "base.csv", tuned, "--fail-on", how, "--quiet").code
        for tuned in ("tuned.csv", "base.csv")
        for how in ("forgotten", "worse")
    ]
    assert codes == [0, 3, 0, 0]


@pytest.mark.slow
def test_want_of_evidence_can_fail_a_build_alone_or_with_others(
    here: Path, palimpsest: Palimpsest
) -> None:
    write("few.csv", RIGHT[:20])

    def code(base: str, tuned: str, *fail_on: str) -> int:
        asked = [part for how in fail_on for part in ("--fail-on", how)]
        return palimpsest("compare", base, tuned, *asked, "--quiet").code

    assert code("few.csv", "few.csv", "forgotten") == 0
    assert code("few.csv", "few.csv", "inconclusive") == 3
    assert code("few.csv", "few.csv", "forgotten", "inconclusive") == 3
    assert code("base.csv", "base.csv", "worse", "inconclusive") == 0
    assert code("few.csv", "few.csv", "never") == 0
    assert code("base.csv", "tuned.csv", "inconclusive") == 3  # a clear fall, and nothing else


@pytest.mark.slow
def test_items_without_a_score_are_left_out_of_both_models_alike(
    here: Path, palimpsest: Palimpsest
) -> None:
    write("holes.csv", [math.nan if i < 3 else 1.0 for i in range(N)])
    write("others.csv", [math.nan if 2 <= i < 5 else 1.0 for i in range(N)])
    refused = palimpsest("compare", "holes.csv", "others.csv")
    assert refused.code == 2
    assert "3 of 100 answers to items have no score to compare. The first: holes.csv" in refused.err
    allowed = palimpsest("compare", "holes.csv", "others.csv", "--allow-partial")
    assert allowed.code == 0
    assert "items: 5 of 100 items are left out of both models alike: 3 have no" in allowed.err
    assert "0 of 95 items" in allowed.out
    write("none.csv", [math.nan] * N)
    empty = palimpsest("compare", "base.csv", "none.csv", "--allow-partial")
    assert empty.code == 2
    assert "No item has a score in the logs of both models" in empty.err


@pytest.mark.slow
def test_json_is_the_results_and_nothing_else(here: Path, palimpsest: Palimpsest) -> None:
    ended = palimpsest("compare", "base.csv", "tuned.csv", "--json", "--out", "out")
    assert json.loads(ended.out) == json.loads((here / "out" / "results.json").read_text("utf-8"))


@pytest.mark.slow
def test_several_files_of_a_model_are_named_by_option_or_by_their_folders(
    here: Path, palimpsest: Palimpsest
) -> None:
    for folder, scores in (("b", RIGHT), ("t", WRONG)):
        for task in ("one", "two"):
            write(f"{folder}/{task}.csv", scores, task=task)
    by_option = palimpsest(
        *("compare", "--base", "b/one.csv", "--base", "b/two.csv"),
        *("--tuned", "t/one.csv", "--tuned", "t/two.csv", "--json"),
    )
    by_folder = palimpsest("compare", "b/one.csv", "b/two.csv", "t/one.csv", "t/two.csv", "--json")
    cells = [json.loads(ended.out)["cells"] for ended in (by_option, by_folder)]
    assert cells[0] == cells[1]
    assert [cell["name"] for cell in cells[0]] == ["one", "two"]


@pytest.mark.slow
def test_languages_in_a_column_are_ways_of_asking(here: Path, palimpsest: Palimpsest) -> None:
    for folder, english in (("b", RIGHT), ("t", WRONG)):
        write(f"{folder}/en.csv", english, lang="en")
        write(f"{folder}/fr.csv", RIGHT, lang="fr")
    ended = palimpsest("compare", "b/en.csv", "b/fr.csv", "t/en.csv", "t/fr.csv", "--json")
    results = json.loads(ended.out)
    assert results["verdict"] == "suppressed"
    assert results["conjugations"][0]["name"] == "fr"
    assert results["suite"]["languages"] == ["en", "fr"]


@pytest.mark.slow
def test_a_language_that_is_not_there_cannot_be_the_plain_one(
    here: Path, palimpsest: Palimpsest
) -> None:
    for folder in ("b", "t"):
        for language in ("fr", "de"):
            write(f"{folder}/{language}.csv", RIGHT, lang=language)
    named = ("b/fr.csv", "b/de.csv", "t/fr.csv", "t/de.csv", "--quiet")
    refused = palimpsest("compare", *named)
    assert refused.code == 2
    assert "None of the items are in 'en'" in refused.err
    assert "they are in fr, de" in refused.err
    assert palimpsest("compare", *named, "--plain-language", "fr").code == 0
    apart = palimpsest("compare", *named, "--parallel", "none")
    assert "items (fr): kept" in apart.out


def test_items_with_and_without_a_language_are_not_mixed(
    here: Path, palimpsest: Palimpsest
) -> None:
    for folder in ("b", "t"):
        write(f"{folder}/some.csv", RIGHT, lang="en")
        write(f"{folder}/others.csv", RIGHT)
    ended = palimpsest(
        "compare", "b/some.csv", "b/others.csv", "t/some.csv", "t/others.csv", "--quiet"
    )
    assert ended.code == 2
    assert "items in 'en' and items would both be items, asked in the same way" in ended.err


@pytest.mark.slow
def test_a_chance_level_may_be_given(here: Path, palimpsest: Palimpsest) -> None:
    write("half.csv", [1.0, 0.0] * (N // 2))
    ended = palimpsest("compare", "base.csv", "half.csv", "--chance", "0.5")
    assert "Chance level: 50.0 %" in ended.out
    assert "Without guesses: base 100.0 %, tuned 0.0 %; forgetting 100.0 points" in ended.out


@pytest.mark.slow
def test_graded_scores_on_another_scale(here: Path, palimpsest: Palimpsest) -> None:
    write("b.csv", [80.0 + i % 5 for i in range(N)])
    write("t.csv", [40.0 + i % 7 for i in range(N)])
    refused = palimpsest("compare", "b.csv", "t.csv")
    assert (refused.code, "--range 0,100" in refused.err) == (2, True)
    ended = palimpsest("compare", "b.csv", "t.csv", "--range", "0,100")
    assert "The mean score fell by 39" in ended.out


@pytest.mark.slow
def test_a_partial_overlap_is_refused_then_counted(here: Path, palimpsest: Palimpsest) -> None:
    refused = palimpsest("compare", "base.csv", "some.csv")
    assert refused.code == 2
    assert "50 of 100 items are only in the base model's log (the first: 'q50')" in refused.err
    assert not (here / "palimpsest-compare").exists()
    allowed = palimpsest("compare", "base.csv", "some.csv", "--allow-partial")
    assert allowed.code == 0
    assert "50 of 100 items are only in the base model's log" in allowed.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the logs of both were not named"),
        (["base.csv"], "the 1 logs that were named lie in 1 folders"),
        (["base.csv", "tuned.csv", "--base", "base.csv"], "both with and without --base"),
        (["base.csv", "tuned.csv", "--conjugated", "leet=a.csv"], "does not name a conjugation"),
        (["base.csv", "tuned.csv", "--conjugated", "a,b"], "does not name a conjugation"),
        (["base.csv", "tuned.csv", "--range", "1"], "The range '1' does not say"),
        (["base.csv", "tuned.csv", "--parallel", "xnli"], "does not say where the language stands"),
        (["base.csv", "absent.csv"], "No file or folder 'absent.csv'"),
    ],
)
def test_mistakes_end_with_2_and_say_what_to_do(
    here: Path, palimpsest: Palimpsest, arguments: list[str], message: str
) -> None:
    ended = palimpsest("compare", *arguments)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.slow
def test_ids_of_a_log_cannot_act_on_the_terminal(here: Path, palimpsest: Palimpsest) -> None:
    rows = [{"id": "\x1b]0;owned\x07", "score": 1}, {"id": "b", "score": 1}]
    Path("hostile.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("plain.jsonl").write_text('{"id": "b", "score": 1}\n')
    refused = palimpsest("compare", "hostile.jsonl", "plain.jsonl")
    allowed = palimpsest("compare", "hostile.jsonl", "plain.jsonl", "--allow-partial")
    assert (refused.code, allowed.code) == (2, 0)
    for ended in (refused, allowed):
        assert "owned" in ended.err
        assert "\x1b" not in ended.err + ended.out
