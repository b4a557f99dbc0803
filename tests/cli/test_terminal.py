from pathlib import Path
from typing import Any, cast

import pytest
from tests.report.diagnosis.factory import VIAS, fake_results

from palimpsest.cli.terminal import progress_bars, rate, show_results, told_by
from palimpsest.judging import Workers
from palimpsest.records import CrewRecord, WorkerRecord


def test_the_verdict_of_the_only_cell_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    several = fake_results()
    only = several.model_copy(
        update={"cells": [several.cells[0].model_copy(update={"verdict": several.verdict})]}
    )
    for results, n_said in ((several, 1 + len(several.cells)), (only, 1)):
        show_results(results, Path("run"), quiet=True, as_json=False)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"Verdict: {results.verdict}. ")
        assert lines[-1] == "Report: run/report.html"
        assert len(lines) == n_said + 1


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_a_conjugation_is_named_whole_in_every_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "25")  # without it, rich takes a dumb terminal for 80 wide
    name = "rot13|leet|pig-latin|reverse-words|base64"
    results = fake_results(vias=[VIAS[0], VIAS[3]._replace(name=name)])
    show_results(results, Path("run"), quiet=False, as_json=False)
    table, _, _ = capsys.readouterr().out.partition("Verdict:")
    assert name in table
    assert max(map(len, table.splitlines())) <= columns
    assert ("Not shown" in table) == (columns < 200)


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_no_word_of_a_progress_bar_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "25")  # without it, rich takes a dumb terminal for 80 wide
    monkeypatch.setenv("FORCE_COLOR", "1")  # to rich, standard error is a terminal then
    monkeypatch.setenv("TERM", "dumb")
    with progress_bars() as show:
        show("tuned", 12_000, 120_000, "1234 answers/s")
    line = capsys.readouterr().err.strip()
    assert " 12000/120000 1234 answers/s " in line
    assert line.startswith("tuned ━")
    assert len(line) <= columns


def test_slow_answers_are_not_called_none() -> None:
    assert rate(1, 600.0) == "600.0 s an answer"
    assert rate(9, 10.0) == "1.1 s an answer"
    assert rate(4, -1e-9) == rate(4, 0.0) == ""


class Crewed:
    """Stands for workers of which one has been replaced."""

    def record(self) -> CrewRecord:
        each: dict[str, Any] = {"busy_seconds": 2.0, "n_restarts": 0}
        return CrewRecord(
            engine="ray",
            workers=[
                WorkerRecord(host="left", n_answers=120, **each),
                WorkerRecord(host="right", n_answers=60, **{**each, "n_restarts": 2}),
            ],
            n_set_aside=1,
        )


def test_what_each_worker_did_stands_below_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as show:
        tell = told_by(show, cast("Workers", Crewed()))
        tell("base", 0, 200, 0)
        tell("base", 200, 200, 0)
    first, *others = capsys.readouterr().err.splitlines()
    assert first.startswith("base 200/200")
    assert others == [
        "  worker 1 120, left, 60 answers/s",
        "  worker 2 60, right, 30 answers/s, 2 restarts",
        "  set aside 1, prompts that end their workers",
    ]


def test_many_workers_are_summed(capsys: pytest.CaptureFixture[str]) -> None:
    crewed = Crewed()
    one = crewed.record()
    many = one.model_copy(update={"workers": one.workers * 12, "n_set_aside": 0})
    crewed.record = lambda: many  # type: ignore[method-assign]
    with progress_bars() as show:
        told_by(show, cast("Workers", crewed))("base", 200, 200, 0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 + 16 + 1
    assert lines[-1] == "  8 more 720, 8 restarts"
