"""``palimpsest history``: what changed from run to run, and how sure that is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import N_EXAMPLES, Palimpsest, Scripted

from palimpsest.errors import UserError
from palimpsest.judging import compare_runs, diagnose
from palimpsest.records.history import History


@pytest.fixture(scope="module")
def runs(scripted: Scripted, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two trainings that kept the ability, and a third that lost it."""
    folder = tmp_path_factory.mktemp("runs")
    paths = []
    for name, tuned in (("1", scripted.base), ("2", scripted.base), ("3", scripted.lost)):
        paths.append(folder / name)
        diagnose(
            scripted.base, tuned, suite=scripted.suite, via=["rot13"], out=paths[-1],
            n_resamples=200,
        )  # fmt: skip
    return paths


@pytest.mark.slow
def test_a_change_is_clear_by_holm_and_no_change_is_none(runs: list[Path]) -> None:
    found = compare_runs(runs)
    assert [run.overall.verdict for run in found.runs] == ["kept", "kept", "lost"]
    same, worse = found.changes
    assert (same.n_lost, same.n_gained, same.p_holm, same.is_clear) == (0, 0, 1, False)
    assert (worse.n, worse.n_lost, worse.is_clear) == (N_EXAMPLES, N_EXAMPLES, True)
    assert worse.p_holm == pytest.approx(2 * 2 * 0.5**N_EXAMPLES)  # of two comparisons
    assert (worse.accuracy_before, worse.accuracy_after) == (1, 0)


def test_the_order_of_the_runs_decides_what_is_better(runs: list[Path]) -> None:
    [change] = compare_runs([runs[2], runs[0]]).changes
    assert (change.n_lost, change.n_gained, change.is_clear) == (0, N_EXAMPLES, True)


def test_the_summary_and_the_file_say_the_same(
    palimpsest: Palimpsest, runs: list[Path], tmp_path: Path
) -> None:
    comment, kept = tmp_path / "comment.md", tmp_path / "history.json"
    ended = palimpsest("history", *runs, "--markdown", comment, "--out", kept)
    assert ended.code == 0, ended.err
    text = comment.read_text("utf-8")
    assert ended.out == text
    assert text.startswith("### Palimpsest: lost\n")
    assert "worse from" in text
    assert "100.0 → 0.0 % of 100 (1→0 100, 0→1 0; p < 0.001, Holm over 2)" in text
    found = History.model_validate_json(kept.read_bytes())
    assert found == compare_runs(runs)
    assert json.loads(palimpsest("history", *runs, "--json").out)["schema"] == (
        "palimpsest.history/1"
    )


def test_the_page_shows_every_run_and_names_what_is_clear(
    palimpsest: Palimpsest, runs: list[Path], tmp_path: Path
) -> None:
    ended = palimpsest("history", *runs, "--page", tmp_path / "shown")
    assert ended.code == 0, ended.err
    assert ended.out.rstrip().endswith(f"Page: {tmp_path / 'shown' / 'history.html'}")
    page = (tmp_path / "shown" / "history.html").read_text("utf-8")
    assert all(str(run) in page for run in runs)
    assert "worse from run 2 to run 3" in page
    assert (tmp_path / "shown" / "figures" / "history.svg").exists()
    found = History.model_validate_json((tmp_path / "shown" / "history.json").read_bytes())
    assert found == compare_runs(runs)


@pytest.mark.parametrize(("order", "code"), [([0, 1], 0), ([1, 2], 3), ([2, 1], 0), ([1, 2, 2], 0)])
def test_fail_on_worse_looks_at_the_newest_change_alone(
    palimpsest: Palimpsest, runs: list[Path], order: list[int], code: int
) -> None:
    ended = palimpsest("history", *(runs[at] for at in order), "--fail-on-worse")
    assert ended.code == code


@pytest.mark.slow
def test_what_is_no_history_is_refused(
    palimpsest: Palimpsest, runs: list[Path], scripted: Scripted, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="needs two runs or more; got 1"):
        compare_runs(runs[:1])
    with pytest.raises(UserError, match="There is no folder"):
        compare_runs([runs[0], tmp_path / "nowhere"])
    other = tmp_path / "other"
    diagnose("rosetta:base", "rosetta:base", suite="rosetta", via=[], limit=1, out=other)
    with pytest.raises(UserError, match="different suites"):
        compare_runs([runs[0], other])
    ended = palimpsest("history", runs[0], runs[1], "--out", tmp_path / "no" / "history.json")
    assert ended.code == 2
