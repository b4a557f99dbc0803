"""Commands on families: their options, what they print, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Palimpsest
from tests.families.conftest import training

from palimpsest.families.finished import read_restoration
from palimpsest.records import Restoration, Trace

__all__ = ["training"]

pytestmark = pytest.mark.slow

PAIR = ("rosetta:base", "rosetta:tuned")
SUITES = ("--suite", "rosetta", "--target", "rosetta-instructions")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a restoration has finished."""
    out = tmp_path_factory.mktemp("restored") / "run"
    command = [
        sys.executable, "-m", "palimpsest", "restore", *PAIR, *SUITES, "--limit", "30",
        "--members", "interpolate:0.6", "--via", "leet", "--target-margin", "30", "--out", str(out),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return out


def test_restore_prints_the_table_the_choice_and_the_better_cure(
    palimpsest: Palimpsest, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    ended = palimpsest(
        "restore", *PAIR, *SUITES, "--limit", "30", "--members", "interpolate:0.6",
        "--via", "leet", "--target-margin", "30", "--out", run,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert any(line.startswith("interpolate:0.6 (chosen)") for line in lines)
    assert any(line.startswith("In the weights: good enough.") for line in lines)
    assert any(line.startswith("Better cure: prompting.") for line in lines)
    assert lines[-1] == f"Report: {run / 'restore.html'}"
    assert "interpolate:0.6 240/240" in ended.err


def test_json_is_the_record_and_nothing_else(palimpsest: Palimpsest, run: Path) -> None:
    ended = palimpsest(
        "restore", *PAIR, *SUITES, "--limit", "30", "--members", "interpolate:0.6",
        "--via", "leet", "--out", run, "--json",
    )  # fmt: skip
    found = Restoration.model_validate_json(ended.out)
    assert found.choice.margin == 0.02
    assert ended.err == ""


def test_what_is_written_loads_in_a_fresh_process_with_the_figures_on_its_card(
    palimpsest: Palimpsest, run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "healed"
    ended = palimpsest("restore", "write", "interpolate:0.6", folder, "--out", run)
    assert ended.out == f"Model: {folder}\n"
    point = read_restoration(run).point("interpolate:0.6")
    assert point is not None
    card = (folder / "README.md").read_text("utf-8")
    assert f"| interpolate:0.6 | {100 * (point.kept.value or 0):.1f} [" in card
    assert "Measured with `palimpsest" in card
    command = [
        sys.executable, "-m", "palimpsest", "diagnose", "rosetta:base", str(folder),
        "--suite", "rosetta", "--limit", "30", "--via", "leet", "--out", str(tmp_path / "again"),
        "--json",
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    results = json.loads(done.stdout)
    assert results["plain"]["tuned"]["accuracy"] == pytest.approx(point.kept.value)
    opened = subprocess.run(
        [
            sys.executable, "-c",
            "import sys; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; "
            "print(M.from_pretrained(sys.argv[1]).num_parameters(), len(T.from_pretrained("
            "sys.argv[1])))",
            str(folder),
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert opened.stdout.split()[1] == "4096"


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("interpolate:0.2,0.4", "stands for 2 members"),
        ("nterpolate:0.2", "Did you mean 'interpolate'"),
        ("tuned", "tuned"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(
    palimpsest: Palimpsest, run: Path, tmp_path: Path, member: str, said: str
) -> None:
    folder = tmp_path / "healed"
    ended = palimpsest("restore", "write", member, folder, "--out", run)
    assert ended.code == 2
    assert said in ended.err
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_ever_written_over(palimpsest: Palimpsest, run: Path, tmp_path: Path) -> None:
    ended = palimpsest("restore", "write", "interpolate:0.6", tmp_path, "--out", run)
    assert (ended.code, "exists already" in ended.err) == (2, True)
    ended = palimpsest("restore", *PAIR, *SUITES, "--write", tmp_path, "--out", tmp_path / "new")
    assert (ended.code, "exists already" in ended.err) == (2, True)
    assert not (tmp_path / "new").exists()  # said before anything was asked


def test_write_without_a_run_says_what_to_do_first(palimpsest: Palimpsest, tmp_path: Path) -> None:
    ended = palimpsest("restore", "write", "interpolate:0.6", tmp_path / "x", "--out", tmp_path)
    assert ended.code == 2
    assert not (tmp_path / "x").exists()


def test_a_choice_that_is_none_writes_nothing_and_exits_3(
    palimpsest: Palimpsest, run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "healed"
    arguments = (
        "restore", *PAIR, *SUITES, "--limit", "30", "--members", "interpolate:0.6",
        "--via", "leet", "--out", run, "--quiet", "--write", folder,
    )  # fmt: skip
    ended = palimpsest(*arguments)
    assert ended.code == 3
    assert "Nothing is written" in ended.err
    assert not folder.exists()
    ended = palimpsest(*arguments, "--target-margin", "30")
    assert ended.code == 0, ended.err
    assert ended.out.endswith(f"Model: {folder}\n")
    assert (folder / "config.json").is_file()


def test_a_healing_is_trained_asked_and_written(palimpsest: Palimpsest, tmp_path: Path) -> None:
    out, folder = tmp_path / "run", tmp_path / "healed"
    ended = palimpsest(
        "restore", *PAIR, *SUITES, "--limit", "15", "--members", "interpolate:0.6",
        "--via", "leet", "--target-margin", "30", "--out", out, "--train",
        "--train-set", "n_steps=4", "--train-set", "n_texts=16", "--train-set", "seed=2",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "15 of 60 examples of the target are what a healing was trained on" in ended.err
    assert "healing, replay 16/16" in ended.err
    assert "healing, steps 4/4" in ended.err
    name = f"healing:{out / 'healings' / 'seed-2-n_steps-4-n_texts-16'}"
    assert name in [point.name for point in read_restoration(out).points]
    ended = palimpsest("restore", "write", name, folder, "--out", out, "--quiet")
    assert ended.code == 0, ended.err
    card = (folder / "README.md").read_text("utf-8")
    assert "healed by 4 steps with seed 2" in card
    assert (folder / "config.json").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--train-set", "n_steps=4"), "Add --train, or leave it out."),
        (("--train", "--train-set", "n_step=4"), "Did you mean 'n_steps'?"),
        (("--train", "--limit", "9"), "at least 30 others are needed"),
    ],
)
def test_a_training_that_cannot_be_is_refused_before_anything_is_asked(
    palimpsest: Palimpsest, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    ended = palimpsest("restore", *PAIR, *SUITES, "--out", tmp_path / "run", *options)
    assert ended.code == 2
    assert said in ended.err
    assert not (tmp_path / "run").exists()


def test_more_arguments_than_two_models_are_refused(palimpsest: Palimpsest) -> None:
    ended = palimpsest("restore", *PAIR, "third", *SUITES)
    assert ended.code == 2
    assert "unexpected extra arguments (third)" in ended.err


def test_trace_prints_the_table_and_what_it_shows(
    palimpsest: Palimpsest, training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    arguments = (
        "trace", "rosetta:base", training, "--suite", "rosetta", "--limit", "10", "--via", "leet",
        "--out", tmp_path / "run",
    )  # fmt: skip
    ended = palimpsest(*arguments)
    assert ended.code == 0, ended.err
    assert "The first clear fall is at step" in ended.out
    assert ended.out.splitlines()[-1] == f"Report: {tmp_path / 'run' / 'trace.html'}"
    found = Trace.model_validate_json(palimpsest(*arguments, "--json").out)
    assert [one.step for one in found.checkpoints] == [10, 20, 30]
    watched = palimpsest(*arguments, "--watch", "--quiet")
    assert [line.split(":")[0] for line in watched.out.splitlines()[:3]] == [
        "Step 10", "Step 20", "Step 30",
    ]  # fmt: skip
