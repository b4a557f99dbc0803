"""Traces of real checkpoints, of a training that goes on, and of runs that are killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.families.conftest import STEPS, write_checkpoint

from palimpsest.errors import UserError
from palimpsest.families import trace
from palimpsest.families.finished import read_trace
from palimpsest.judging import diagnose
from palimpsest.records import Trace

SUITE = "rosetta:languages=en"
LIMIT = 10
N_EXAMPLES = 4 * LIMIT


class Told(NamedTuple):
    """How much of one model's answers was on file."""

    n_total: int
    n_reused: int


class Progress:
    """Notes what was asked."""

    def __init__(self) -> None:
        self.last: dict[str, Told] = {}

    def __call__(self, name: str, n_done: int, n_total: int, n_reused: int) -> None:
        self.last[name] = Told(n_total, n_reused)

    @property
    def n_asked(self) -> int:
        return sum(each.n_total - each.n_reused for each in self.last.values())


def traced(training: Path, out: Path | None, **settings: object) -> Trace:
    options = {"suite": SUITE, "via": ["leet"], "limit": LIMIT, "n_resamples": 1_000} | settings
    return trace("rosetta:base", [str(training)], out=out, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(training: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a trace has finished, with a target."""
    out = tmp_path_factory.mktemp("trace") / "run"
    traced(training, out, target="rosetta-instructions")
    return out


@pytest.mark.slow
def test_a_trace_says_when_it_went_and_what_reads_it_back(run: Path) -> None:
    found = read_trace(run)
    assert [one.step for one in found.checkpoints] == list(STEPS)
    falls = [one.fall.value or 0.0 for one in found.checkpoints]
    assert falls == sorted(falls)  # the further on the way, the more is gone
    # A tenth of the change does nothing (and 40 examples are too few to exclude 5 points); nine
    # tenths leave a fifth, which leet brings back.
    assert found.first_clear_fall == 20 or found.first_clear_fall == 30
    assert found.windows[0].via == "leet"
    assert 30 in found.windows[0].steps
    assert [curve.steps for curve in found.curves] == [[0, *STEPS]] * 2
    gains = [one.target_gain.value or 0.0 for one in found.checkpoints if one.target_gain]
    assert gains == sorted(gains)
    assert "The first clear fall is at step" in found.summary[0]
    for name in ("trace.html", "trace.csv", "figures/trace.png", "figures/trace-target.svg"):
        assert (run / name).stat().st_size


@pytest.mark.slow
def test_answers_on_file_are_never_asked_again(training: Path, run: Path, tmp_path: Path) -> None:
    again = Progress()
    traced(training, run, target="rosetta-instructions", progress=again)
    assert (len(again.last), again.n_asked) == (8, 0)
    more = Progress()
    copy = shutil.copytree(training, tmp_path / "training")
    write_checkpoint(copy / "checkpoint-15", 0.3, step=15)
    traced(copy, run, target="rosetta-instructions", progress=more)
    assert more.n_asked == 3 * N_EXAMPLES  # the suite in two ways, and the target
    assert more.last["step 15, suite"].n_reused == 0


@pytest.mark.slow
def test_answers_of_a_diagnosis_in_the_same_folder_are_used(training: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    tuned = str(training / "checkpoint-30")
    diagnose("rosetta:base", tuned, suite=SUITE, via=["leet"], limit=LIMIT, out=out)
    results, report = ((out / name).read_bytes() for name in ("results.json", "report.html"))
    progress = Progress()
    traced(training, out, progress=progress)
    asked = {name for name, told in progress.last.items() if told.n_reused < told.n_total}
    assert asked == {"step 10", "step 20"}
    assert (out / "results.json").read_bytes() == results
    assert (out / "report.html").read_bytes() == report
    config = json.loads((out / "run.json").read_text("utf-8"))["config"]
    assert config["models"]["tuned"] == tuned  # what rescore and report go by


@pytest.mark.slow
def test_the_order_in_which_checkpoints_were_asked_changes_nothing(
    training: Path, tmp_path: Path
) -> None:
    late_first = tmp_path / "run"
    for steps in ([30], [10, 20, 30]):
        named = [str(training / f"checkpoint-{step}") for step in steps]
        found = trace(
            "rosetta:base", named, suite=SUITE, via=[], limit=LIMIT, out=late_first, n_resamples=500
        )
    fresh = traced(training, None, via=[], n_resamples=500)
    assert found.checkpoints[0].model.spec.endswith("checkpoint-10")
    assert found.curves == fresh.curves
    assert [one.fall for one in found.checkpoints] == [one.fall for one in fresh.checkpoints]


@pytest.mark.slow
def test_a_training_is_watched_until_its_last_step(training: Path, tmp_path: Path) -> None:
    """Checkpoints come one by one; the second is half written for a while, and waits."""
    folder = tmp_path / "tuned"
    folder.mkdir()
    started = threading.Event()
    told: list[list[int]] = []

    def train() -> None:
        for step in STEPS:
            half = folder / f"checkpoint-{step}"
            shutil.copytree(training / half.name, half, ignore=shutil.ignore_patterns("*state*"))
            (half / "training_args.bin").write_bytes(b"")
            started.wait(20)
            time.sleep(0.5)
            shutil.copyfile(training / half.name / "trainer_state.json", half / "state.json")
            (half / "state.json").rename(half / "trainer_state.json")

    def note(found: Trace) -> None:
        started.set()
        told.append([one.step for one in found.checkpoints])
        assert found.is_running
        assert "still being watched" in (tmp_path / "run" / "trace.html").read_text("utf-8")

    training_thread = threading.Thread(target=train)
    training_thread.start()
    started.set()
    found = traced(
        folder, tmp_path / "run", via=[], watch=True, look_seconds=0.1, patience_seconds=60.0,
        told=note,
    )  # fmt: skip
    training_thread.join()
    assert told[-1] == list(STEPS)
    assert [len(steps) for steps in told] == [1, 2, 3]
    assert not found.is_running
    assert "still being watched" not in (tmp_path / "run" / "trace.html").read_text("utf-8")


@pytest.mark.slow
def test_watching_ends_when_nothing_comes(training: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    write_checkpoint(folder / "checkpoint-10", 0.5, step=10, most=1_000)
    began = time.monotonic()
    found = traced(
        folder, None, via=[], watch=True, look_seconds=0.05, patience_seconds=0.3, n_resamples=100
    )
    assert [one.step for one in found.checkpoints] == [10]
    assert time.monotonic() - began > 0.3


@pytest.mark.slow
def test_watching_an_empty_folder_ends_with_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint in .* that is wholly written"):
        traced(tmp_path, None, watch=True, look_seconds=0.01, patience_seconds=0.02, via=[])


@pytest.mark.slow
def test_a_checkpoint_that_the_training_removes_meanwhile_is_passed_over(
    training: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(training, tmp_path / "tuned")

    def note(found: Trace) -> None:
        shutil.rmtree(folder / "checkpoint-20", ignore_errors=True)

    found = traced(
        folder, None, via=[], watch=True, look_seconds=0.01, patience_seconds=0.1, told=note,
        n_resamples=100,
    )  # fmt: skip
    assert [one.step for one in found.checkpoints] == [10, 30]
    assert "step 20 was removed before it was asked" in found.warnings[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("named", "settings", "said"),
    [
        ([], {}, "No checkpoint was named"),
        (["rosetta:tuned"], {"watch": True}, "cannot be watched"),
        (["/nowhere/at/all"], {}, "nowhere"),
    ],
)
def test_what_cannot_be_traced_is_refused(
    named: list[str], settings: dict[str, bool], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        trace("rosetta:base", named, suite=SUITE, via=[], limit=1, **settings)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_base_itself_is_no_checkpoint() -> None:
    with pytest.raises(UserError, match="is the base itself"):
        trace("rosetta:base", ["rosetta:base"], suite=SUITE, via=[], limit=1)


@pytest.mark.slow
def test_killed_at_any_moment_it_continues_and_ends_the_same(
    training: Path, tmp_path: Path
) -> None:
    killed, fresh = tmp_path / "killed", tmp_path / "fresh"
    command = [
        sys.executable, "-m", "palimpsest", "trace", "rosetta:base", str(training),
        "--suite", SUITE, "--limit", "25", "--via", "leet", "--quiet",
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
    one, other = (_comparable(read_trace(out)) for out in (killed, fresh))
    assert one == other


def _comparable(found: Trace) -> dict[str, object]:
    """Return what does not depend on the clock, the command, or how often a prompt was sent."""
    record = found.model_dump(exclude={"provenance"})
    for one in (record["base"], *(each["model"] for each in record["checkpoints"])):
        one["usage"] = None
    return record
