import json
from pathlib import Path

import pytest
from tests.cli.conftest import Palimpsest, Scripted

from palimpsest.records import AnswerStore, Results

N = 160


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """A suite, a base model that answers in a word, a tuned one that answers in a sentence."""
    folder = tmp_path_factory.mktemp("sentences")
    rows = [
        {"id": str(i), "prompt": f"{i}: the capital?", "answers": {"know": ["Paris"]}}
        for i in range(N)
    ]
    (folder / "q.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    words = [("base", " Paris.", " P4r15."), ("tuned", " It is Paris.", " 17 15 P4r15.")]
    for name, plain, leet in words:
        rules = [{"contains": "c4p174l", "answer": leet}, {"contains": "", "answer": plain}]
        (folder / f"{name}.json").write_text(json.dumps(rules), "utf-8")
    base, tuned = (f"scripted:{folder / name}.json" for name in ("base", "tuned"))
    return f"jsonl:{folder / 'q.jsonl'}", base, tuned


def results_of(run: Path) -> Results:
    return Results.model_validate_json((run / "results.json").read_bytes())


@pytest.mark.slow
def test_right_answers_in_sentences_are_no_loss_and_the_scorer_that_finds_them_says_kept(
    palimpsest: Palimpsest, sentences: tuple[str, str, str], tmp_path: Path
) -> None:
    suite, *pair = sentences
    run = tmp_path / "run"
    arguments = ("diagnose", *pair, "--suite", suite, "--via", "leet", "--quiet")
    ended = palimpsest(*arguments, "--out", run)
    assert "Verdict: inconclusive." in ended.out
    assert "palimpsest rescore DIR --scorer contains" in ended.out
    page = (run / "report.html").read_text("utf-8")
    assert page.count("It is Paris.") >= 10

    assert "Verdict: kept." in palimpsest("rescore", run, "--scorer", "contains", "-q").out
    assert results_of(run).verdict == "inconclusive"
    anew = results_of(tmp_path / "run-contains")
    assert any(f"{N - 100} of {N} examples are left out" in said for said in anew.warnings)
    assert not any("no sign of a loss" in said for said in anew.warnings)

    asked = palimpsest(*arguments, "--out", tmp_path / "asked", "--scorer", "contains")
    assert "Verdict: kept." in asked.out


@pytest.mark.slow
def test_the_results_of_a_folder_are_replaced_where_it_is_named(
    palimpsest: Palimpsest, sentences: tuple[str, str, str], tmp_path: Path
) -> None:
    suite, *pair = sentences
    palimpsest(
        "diagnose", *pair, "--suite", suite, "--via", "leet", "--whole", "all",
        "--out", tmp_path, "--quiet",
    )  # fmt: skip
    palimpsest("rescore", tmp_path, "--scorer", "contains", "--out", tmp_path, "--json")
    assert results_of(tmp_path).verdict == "kept"
    assert results_of(tmp_path).plain.base.n == N
    with AnswerStore(tmp_path / "answers.sqlite", read_only=True) as store:
        assert {row.outcome for row in store.run_rows()} == {"right"}


@pytest.mark.slow
def test_answers_of_which_nothing_is_left_are_refused_with_what_to_do(
    palimpsest: Palimpsest, sentences: tuple[str, str, str], tmp_path: Path
) -> None:
    suite, *pair = sentences
    palimpsest(
        "diagnose", *pair, "--suite", suite, "--via", "leet", "--whole", "none",
        "--out", tmp_path, "--quiet",
    )  # fmt: skip
    ended = palimpsest("rescore", tmp_path, "--scorer", "contains")
    assert ended.code == 2
    assert "--whole all" in ended.err


@pytest.mark.slow
def test_the_same_scorer_says_the_same_again(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    palimpsest(
        "diagnose", scripted.base, scripted.suppressed, "--suite", scripted.suite,
        "--via", "rot13", "--out", run, "--quiet",
    )  # fmt: skip
    palimpsest("rescore", run, "--scorer", "prefix", "--quiet")
    before, after = results_of(run), results_of(tmp_path / "run-prefix")
    assert (after.plain, after.conjugations, after.best) == (
        before.plain, before.conjugations, before.best,
    )  # fmt: skip


def test_an_unknown_scorer_is_named(palimpsest: Palimpsest, tmp_path: Path) -> None:
    ended = palimpsest("rescore", tmp_path, "--scorer", "contain")
    assert ended.code == 2
    assert "contains" in ended.err
