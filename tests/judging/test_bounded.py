"""What looks at a finished run holds some bytes an answer, not the answers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palimpsest.judging import compare_runs, diagnose, history, rescore
from palimpsest.judging import rescoring as module
from palimpsest.lm.models import ScriptedModel
from palimpsest.lm.suites import Example, Suite
from palimpsest.records import AnswerRow, AnswerStore

pytestmark = pytest.mark.usefixtures("empty_figures")

N = 60
LONG = "and so it is, whatever was said before; " * 200


def suite() -> Suite:
    examples = [
        Example(f"{i}", f"cell {i % 3}", "en", f"Is it {i}? {LONG}", {"say": ("yes",)})
        for i in range(N)
    ]
    return Suite("long", tuple(examples))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    base = ScriptedModel(lambda prompt: f" yes {prompt}", name="base", fingerprint="base")
    tuned = ScriptedModel(lambda prompt: f" no, {prompt[:5]}", name="tuned", fingerprint="tuned")
    path = tmp_path / "run"
    diagnose(base, tuned, suite=suite(), via=["leet"], out=path, whole="all", n_resamples=200)
    return path


def peak(do: Callable[[], Any]) -> int:
    """Return how many bytes Python held at a time."""
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_history_holds_no_texts(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palimpsest.records.stored_answers._N_READ", 10)
    with AnswerStore(run / "answers.sqlite", read_only=True) as store:
        n_bytes = sum(len(row.prompt) + len(row.raw) for row in store.run_answers())
        assert n_bytes > 1_500_000
        assert peak(lambda: history.tuned_answers(store, None)) < n_bytes / 4
    [change, *_] = compare_runs([run, run]).changes
    assert (change.n, change.n_lost, change.accuracy_after) == (N, 0, 0)


def test_answers_judged_anew_are_those_of_the_run_in_its_order_and_judged_in_small_blocks(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_N_TOGETHER", 7)
    found = rescore(run, "contains", out=tmp_path / "again")
    rows: dict[str, list[AnswerRow]] = {}
    for name in ("run", "again"):
        with AnswerStore(tmp_path / name / "answers.sqlite", read_only=True) as store:
            rows[name] = store.run_rows()
    assert [(row.key, row.role) for row in rows["again"]] == [
        (row.key, row.role) for row in rows["run"]
    ]
    assert {row.scoring for row in rows["again"]} != {row.scoring for row in rows["run"]}
    assert (found.plain.base.accuracy, found.plain.tuned.accuracy) == (1, 0)


def test_a_run_judged_anew_in_its_own_folder_leaves_one_file_of_answers(run: Path) -> None:
    rescore(run, "contains", out=run)
    assert sorted(path.name for path in run.glob("answers.sqlite*")) == ["answers.sqlite"]
