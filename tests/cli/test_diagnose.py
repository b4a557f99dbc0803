import json
from pathlib import Path

import pytest

from palimpsest.records.results import Results

from .conftest import N_EXAMPLES, Palimpsest, Scripted


def test_a_suppressed_ability_is_called_suppressed(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    ended = palimpsest(
        "diagnose", scripted.base, scripted.suppressed, "--suite", scripted.suite,
        "--via", "rot13", "--out", tmp_path / "run",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "Verdict: suppressed" in ended.out
    results = Results.model_validate_json((tmp_path / "run" / "results.json").read_bytes())
    assert results.plain.forgetting == 1.0
    assert results.plain.tuned.intruded == 1.0
    assert results.conjugations[0].recovery == 1.0
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_lost_ability_is_called_lost(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    ended = palimpsest(
        "diagnose", scripted.base, scripted.lost, "--suite", scripted.suite, "--via", "rot13",
        "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    results = json.loads(ended.out)
    assert results["verdict"] == "lost"
    assert results["plain"]["tuned"]["broken"] == 1.0


@pytest.mark.parametrize(("tuned", "code"), [("base", 0), ("suppressed", 3), ("lost", 3)])
def test_fail_on_forgotten_exits_3_when_an_ability_went(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path, tuned: str, code: int
) -> None:
    ended = palimpsest(
        "diagnose", scripted.base, getattr(scripted, tuned), "--suite", scripted.suite,
        "--via", "rot13", "--out", tmp_path / "run", "--fail-on", "forgotten", "--quiet",
    )  # fmt: skip
    assert ended.code == code


def test_limit_uses_that_many_examples(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    ended = palimpsest(
        "diagnose", scripted.base, scripted.lost, "--suite", scripted.suite, "--via", "rot13",
        "--out", tmp_path / "run", "--limit", 7, "--json",
    )  # fmt: skip
    results = json.loads(ended.out)
    assert results["plain"]["base"]["n"] == 7 < N_EXAMPLES
    assert results["verdict"] == "inconclusive"


def test_the_report_can_be_written_anew_without_a_model(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    palimpsest(
        "diagnose", scripted.base, scripted.suppressed, "--suite", scripted.suite,
        "--via", "rot13", "--out", out, "--quiet",
    )  # fmt: skip
    before = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    ended = palimpsest("report", out)
    assert ended.code == 0, ended.err
    assert (out / "report.html").read_bytes() == before


def test_a_second_run_asks_nothing_and_says_the_same(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    command = (
        "diagnose", scripted.base, scripted.suppressed, "--suite", scripted.suite,
        "--via", "rot13", "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    first, second = (json.loads(palimpsest(*command).out) for _ in range(2))
    for results in (first, second):
        del results["provenance"]
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing-base", "missing-tuned"], "missing-base"),
        (["rosetta:bse", "rosetta:tuned"], "Did you mean 'rosetta:base'?"),
        (["BASE", "BASE", "--suite", "icl-vs-fi"], "Did you mean 'icl-vs-if'?"),
        (["BASE", "BASE", "--suite", "SUITE", "--via", "leat"], "Did you mean 'leet'?"),
        (["BASE", "BASE", "--suite", "SUITE", "--via", "native:fr"], "fr"),
        (["BASE", "BASE", "--suite", "jsonl:missing.jsonl"], "missing.jsonl"),
    ],
)
def test_a_mistake_is_explained_and_exits_2(
    palimpsest: Palimpsest,
    scripted: Scripted,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    given = [{"BASE": scripted.base, "SUITE": scripted.suite}.get(a, a) for a in arguments]
    ended = palimpsest("diagnose", *given, "--out", tmp_path / "run")
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_a_foreign_folder_is_left_alone(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("mine", "utf-8")
    ended = palimpsest(
        "diagnose", scripted.base, scripted.lost, "--suite", scripted.suite, "--out", tmp_path
    )
    assert ended.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
