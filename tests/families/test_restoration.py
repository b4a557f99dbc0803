"""Restorations of the embedded pair: asked, judged, written, killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.families.test_tracing import Progress

from palimpsest.errors import UserError
from palimpsest.families import restore
from palimpsest.families.finished import read_restoration
from palimpsest.judging import diagnose
from palimpsest.records import Restoration
from palimpsest.rosetta import Writer

MEMBERS = ("interpolate:0.2,0.6", "dg-hard")
N = 4 * 20


def restored(out: Path | None, **settings: object) -> Restoration:
    options = {
        "suite": "rosetta", "target": "rosetta-instructions", "members": MEMBERS,
        "via": ["leet", "fr"], "limit": 20, "target_margin": 0.3, "n_resamples": 1_000,
    } | settings  # fmt: skip
    return restore("rosetta:base", "rosetta:tuned", out=out, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a restoration has finished."""
    out = tmp_path_factory.mktemp("restoration") / "run"
    restored(out)
    return out


@pytest.mark.slow
def test_the_front_of_rosetta_trades_what_was_lost_against_the_target(run: Path) -> None:
    found = read_restoration(run)
    assert [point.name for point in found.points] == [
        "base", "tuned", "interpolate:0.2", "interpolate:0.6", "dg-hard", "leet", "fr",
    ]  # fmt: skip
    points = {point.name: point for point in found.points}
    order = ["tuned", "interpolate:0.6", "interpolate:0.2"]
    kept = [points[name].kept.value or 0.0 for name in order]
    target = [points[name].target.value or 0.0 for name in order if points[name].target]  # type: ignore[union-attr]
    assert kept == sorted(kept)
    assert target == sorted(target, reverse=True)
    assert points["fr"].target is None  # the target is written in English alone
    assert points["leet"].target is not None
    assert (found.choice.outcome, found.choice.name) == ("good", "interpolate:0.6")
    assert (found.cure.outcome, found.cure.via) == ("prompting", "leet")
    for name in ("restore.html", "restore.csv", "restore-cells.csv", "figures/front.png"):
        assert (run / name).stat().st_size


@pytest.mark.slow
def test_only_what_was_chosen_is_measured_on_the_second_half(run: Path) -> None:
    found = read_restoration(run)
    reported = {point.name for point in found.points if point.report is not None}
    assert reported == {"interpolate:0.6", "leet"}
    halves = [(point.selection, point.report) for point in found.points if point.report]
    for selection, report in halves:
        assert selection is not None
        assert report is not None
        assert selection.n + report.n == N


@pytest.mark.slow
def test_answers_on_file_are_never_asked_again_nor_those_of_a_diagnosis(
    run: Path, tmp_path: Path
) -> None:
    again = Progress()
    restored(run, progress=again)
    assert again.n_asked == 0
    out = tmp_path / "run"
    diagnose("rosetta:base", "rosetta:tuned", suite="rosetta", via=["leet"], limit=20, out=out)
    progress = Progress()
    restored(out, members=["interpolate:0.6"], via=["leet"], progress=progress)
    assert progress.last["base"].n_reused == progress.last["tuned"].n_reused == N
    assert progress.last["tuned, conjugated"].n_reused == N
    assert progress.last["interpolate:0.6"].n_reused == 0
    assert json.loads((out / "run.json").read_text("utf-8"))["config"]["suite"] == "rosetta"


@pytest.mark.slow
def test_text_takes_the_place_of_a_suite(tmp_path: Path) -> None:
    import numpy as np

    writer = Writer("report", conflict_share=0.0, line_share=1.0)
    documents = [writer.tuning(rng) for rng in map(np.random.default_rng, range(60))]
    rows = [{"prompt": each.prompt, "completion": each.completion} for each in documents]
    file = tmp_path / "held-out.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    found = restored(None, target=f"text:{file}", members=["interpolate:0.6"], limit=60)
    assert found.target.unit == "bits a byte"
    points = {point.name: point for point in found.points}
    bits = [points[name].target for name in ("tuned", "interpolate:0.6", "base")]
    values = [each.value for each in bits if each is not None and each.value is not None]
    assert values == sorted(values)
    assert len(values) == 3
    assert points["leet"].target is None  # conjugated text is another text
    kept = [cell.target_kept for cell in points["interpolate:0.6"].cells if cell.part == "target"]
    assert len(kept) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"target": "rosetta"}, r"not clearly better than the base .* nothing to keep"),
        ({"suite": "rosetta-instructions"}, r"not clearly worse than the base .* get back"),
        ({"limit": 5}, "it takes at least 30"),
        ({"members": ["interpolate:2"]}, "interpolate:2"),
        ({"members": ["interpolat:0.5"]}, "Did you mean 'interpolate'"),
        ({"target_margin": 0.0}, "expected more than 0"),
        ({"target": "text:/nowhere.jsonl"}, "No file"),
        ({"target": "rosetta-instruction"}, "Did you mean 'rosetta-instructions'"),
    ],
)
def test_what_cannot_be_restored_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=f"(?s){said}"):
        restored(None, **({"via": [], "members": []} | settings))


@pytest.mark.slow
def test_killed_at_any_moment_it_continues_and_ends_the_same(tmp_path: Path) -> None:
    killed, fresh = tmp_path / "killed", tmp_path / "fresh"
    command = [
        sys.executable, "-m", "palimpsest", "restore", "rosetta:base", "rosetta:tuned",
        "--suite", "rosetta", "--target", "rosetta-instructions", "--limit", "25",
        "--members", "interpolate:0.5,0.7", "--via", "leet", "--quiet",
    ]  # fmt: skip
    n_kills = 0
    for seconds in (4, 6, 8):
        process = subprocess.Popen(
            [*command, "--out", str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            n_kills += 1
    for out in (killed, fresh):
        subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
    assert n_kills
    one, other = (
        read_restoration(out).model_dump(
            exclude={"provenance": True, "base": {"usage"}, "tuned": {"usage"}}
        )
        for out in (killed, fresh)
    )
    assert one == other
