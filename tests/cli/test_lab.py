import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.lab.micro import micro_file
from tests.report.lab.factory import fake_lab_results

from palimpsest.cli import lab
from palimpsest.cli.main import run
from palimpsest.cli.terminal import progress_bars
from palimpsest.errors import UserError
from palimpsest.lab.runs import load_config
from palimpsest.lab.runs.presets import PRESETS, preset_text

PALIMPSEST = str(Path(sys.executable).with_name("palimpsest"))


def test_presets_are_listed_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lab", "presets"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in PRESETS)
    assert run(["lab", "presets", "tiny"]) == 0
    assert capsys.readouterr().out == preset_text("tiny")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "tny"], "Did you mean 'tiny'?"),
        (["run", "tiny", "--set", "finetune.n_step=5"], "Did you mean 'finetune.n_steps'?"),
        (["run", "tiny", "--set", "problem.alpha=2"], "alpha is 2"),
        (["sweep", "missing.toml"], "There is no file 'missing.toml'"),
        (["presets", "tny"], "Did you mean 'tiny'?"),
        (["plot", "missing", "-m", "recovery", "--over", "seed"], "There is no folder 'missing'"),
    ],
)
def test_a_mistake_ends_with_a_message_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lab", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_prints_json_alone_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["lab", "run", str(micro_file(tmp_path)), "--out", str(tmp_path / "out"), "--json"]
    assert run(command) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["name"] == "micro"
    assert printed.err == ""


def test_the_recovery_is_said_with_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    lab._show(fake_lab_results(), Path("out"))
    assert "Recovery under rotations:32: 0.92 [0.82, 1.02]" in capsys.readouterr().out


def test_where_there_is_no_terminal_progress_is_a_line_a_minute_and_one_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(float(second) for second in range(1_000))
    monkeypatch.setattr("palimpsest.cli.terminal.time.monotonic", lambda: next(clock))
    with progress_bars() as show:
        for step in range(1, 151):
            show("pretraining", step, 150, "loss 0.5")
        show("pretraining", 150, 150, "loss 0.5")
        show("check", 1, 1, "")
    assert capsys.readouterr().err.splitlines() == [
        "pretraining 60/150, loss 0.5, about 2 minutes left",
        "pretraining 120/150, loss 0.5, about 30 s left",
        "pretraining 150/150, loss 0.5",
        "check 1/1",
    ]


@pytest.mark.parametrize(
    ("command", "does"),
    [
        (["run", "tiny", "--quiet"], "run"),
        (["pretrain", "tiny", "--quiet"], "pretrain_base"),
        (["sweep", "experiments/lab/claims.toml", "--quiet"], "run_sweep"),
    ],
)
def test_sigterm_ends_a_command_with_a_word_and_143(
    command: list[str],
    does: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def told_to_end(*arguments: object, **options: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(f"palimpsest.lab.runs.{does}", told_to_end)
    assert run(["lab", *command]) == 143
    assert "Run the same command again to continue." in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_run_starts_from_the_base_of_the_package_unless_it_cannot_or_must_not(
    tmp_path: Path,
) -> None:
    config = load_config("tiny")
    found = lab._base("tiny", config, tmp_path, None, from_scratch=False)
    assert found.path is not None
    assert lab._base("tiny", config, tmp_path, None, from_scratch=True).path is None
    other = load_config("tiny", ["finetune.n_steps=5", "measure.n_prompts=12"])
    assert lab._base("tiny", other, tmp_path, None, from_scratch=False).path == found.path
    seeded = lab._base("tiny", load_config("tiny", seed=5), tmp_path, None, from_scratch=False)
    assert seeded.path is None
    assert "problem.task_seed is 31 there and 5 here" in seeded.sentence
    (tmp_path / "base.safetensors").write_bytes(found.path.read_bytes())
    with pytest.raises(UserError, match="holds a run from the base of the package"):
        lab._base("tiny", config, tmp_path, None, from_scratch=True)
    (tmp_path / "base.safetensors").write_bytes(b"its own")
    assert lab._base("tiny", config, tmp_path, None, from_scratch=False).path is None
    with pytest.raises(UserError, match="exclude each other"):
        lab._base("tiny", config, tmp_path, tmp_path, from_scratch=True)


@pytest.mark.slow
def test_a_base_is_made_and_a_run_starts_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = str(micro_file(tmp_path))
    assert run(["lab", "pretrain", source, "--quiet", "--out", "base"]) == 0
    assert "30 steps. NOT converged: what follows is" in capsys.readouterr().out
    assert run(["lab", "run", source, "--base", "base", "--out", "run"]) == 0
    printed = capsys.readouterr()
    assert "Starts from the base in 'base'." in printed.err
    assert "pretraining" not in printed.err
    assert printed.out.startswith("NOT converged: what follows is")
    assert run(["lab", "run", source, "--base", "base", "--seed", "2", "--out", "other"]) == 2
    assert "was made otherwise" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_shows_its_trainings_and_what_came_out(tmp_path: Path) -> None:
    done = subprocess.run(
        [PALIMPSEST, "lab", "run", str(micro_file(tmp_path)), "--out", "out", "--seed", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "The trainings take about" in done.stderr
    assert "30/30" in done.stderr
    assert re.search(r"loss \d\.\d+ \(Bayes [+-]\d\.\d+\), \d+/s", done.stderr)
    assert "was NOT learnt" in done.stderr
    assert "was NOT learnt" not in done.stdout
    assert "Report: out/report.html" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "kill",
    [signal.SIGKILL, signal.SIGINT, signal.SIGTERM],
    ids=["kill -9", "Ctrl-C", "SIGTERM"],
)
def test_killed_at_any_stage_the_same_command_ends_with_the_same_results(
    kill: signal.Signals, tmp_path: Path
) -> None:
    source = str(micro_file(tmp_path))

    def start(out: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [PALIMPSEST, "lab", "run", source, "--out", out, "--quiet", "--set", "device=cpu"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    # Each run is ended as soon as the next of these is there.
    for reached in ("training", "base.safetensors", "curve.json", "remedies", "results.json"):
        process = start("killed")
        while not (tmp_path / "killed" / reached).exists() and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(kill)
        _, said = process.communicate(timeout=120)
        # A stage that the run before had reached ends this one before Python listens to Ctrl-C.
        assert process.returncode in (0, -kill, 128 + kill), said.decode()
        if kill != signal.SIGKILL and process.returncode > 0:
            assert "Run the same command again to continue." in said.decode()
    for out in ("killed", "fresh"):
        process = start(out)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()
    killed, fresh = (
        json.loads((tmp_path / out / "results.json").read_text("utf-8"))
        for out in ("killed", "fresh")
    )
    assert killed.pop("provenance")["models"] == fresh.pop("provenance")["models"]
    assert killed == fresh
    assert (tmp_path / "killed" / "report.html").exists()
