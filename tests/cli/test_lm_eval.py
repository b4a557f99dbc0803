"""``palimpsest lm-eval``: the harness's command, with one model more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from palimpsest.lm.models.rosetta import ROSETTA_WEIGHTS

from .conftest import Palimpsest

OURS = [sys.executable, "-m", "palimpsest", "lm-eval"]
THEIRS = [sys.executable, "-m", "lm_eval"]


def test_the_help_is_ours_and_loads_no_harness() -> None:
    code = (
        "import sys\n"
        "from palimpsest.cli.main import run\n"
        "run(['lm-eval', '--help'])\n"
        "print([name for name in ('lm_eval', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "via=leet" in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_every_word_goes_to_the_harness_as_it_is(
    palimpsest: Palimpsest, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda: seen.extend(sys.argv))
    words = ["run", "-h", "--tasks", "a,b", "--model_args", "x=1", "y=2", "--", "-v", "--limit=2"]
    before = list(sys.argv)
    assert palimpsest("lm-eval", *words).code == 0
    assert seen == ["lm-eval", *words]
    assert sys.argv == before


def test_options_without_a_command_go_there_too(
    palimpsest: Palimpsest, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda: seen.extend(sys.argv))
    palimpsest("lm-eval", "--model", "conjugate", "-t", "a")
    assert seen == ["lm-eval", "--model", "conjugate", "-t", "a"]


def test_the_harness_sets_the_exit_code(palimpsest: Palimpsest) -> None:
    with pytest.raises(SystemExit) as ended:
        palimpsest("lm-eval", "run", "--no-such-option")
    assert ended.value.code == 2


def test_without_arguments_it_says_what_to_type(palimpsest: Palimpsest) -> None:
    ended = palimpsest("lm-eval")
    assert ended.code == 2
    assert "Usage: palimpsest lm-eval" in ended.err


def test_ctrl_c_does_not_promise_to_go_on(
    palimpsest: Palimpsest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", interrupted)
    ended = palimpsest("lm-eval", "run")
    assert ended.code == 130
    assert "continue" not in ended.err


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = [{"text": text} for text in ("Cows eat green grass.", "Boys throw blue balls.")]
    (tmp_path / "rows.json").write_text(json.dumps(rows), "utf-8")
    task = tmp_path / "echo.yaml"
    task.write_text(
        "task: echo\n"
        "dataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path}/rows.json}}}}\n"
        "output_type: generate_until\n"
        "test_split: test\n"
        'doc_to_text: "Repeat the input.\\n\\nInput: {{text}}\\nOutput:"\n'
        "doc_to_target: text\n"
        'generation_kwargs: {until: ["\\n"], max_gen_toks: 8}\n',
        "utf-8",
    )
    return task


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=240
    )


@pytest.mark.slow
def test_a_run_writes_what_the_harness_writes(task: Path, tmp_path: Path) -> None:
    weights = ROSETTA_WEIGHTS / "tuned"
    options = ["--tasks", str(task), "--device", "cpu", "--log_samples", "--output_path"]
    plain = ["--model", "hf", "--model_args", f"pretrained={weights}"]
    conjugate = ["--model", "conjugate", "--model_args", f"inner=hf,pretrained={weights}"]
    samples = {}
    for name, command in {
        "plain": [*THEIRS, "run", *plain, *options],
        "identity": [*OURS, "run", *conjugate, "via=identity", *options],
        "leet": [*OURS, "run", *conjugate, "via=leet", *options],
    }.items():
        # The values of model_args end at the next option.
        done = run([*command, str(tmp_path / name)], tmp_path)
        assert done.returncode == 0, done.stderr
        [written] = (tmp_path / name).rglob("samples_echo_*.jsonl")
        samples[name] = [json.loads(line) for line in written.read_text("utf-8").splitlines()]
    assert samples["identity"] == samples["plain"]
    assert samples["leet"] != samples["plain"]
    for key in ("doc_hash", "prompt_hash", "target_hash", "arguments"):
        assert [row[key] for row in samples["leet"]] == [row[key] for row in samples["plain"]]


@pytest.mark.slow
def test_mistakes_end_as_ours_and_failures_as_the_harnesss(task: Path, tmp_path: Path) -> None:
    ours = run(
        [*OURS, "run", "--model", "conjugate", "--model_args", "inner=hf", "--tasks", str(task)],
        tmp_path,
    )
    assert ours.returncode == 2
    assert "Error: No conjugation is named" in ours.stderr
    assert "Traceback" not in ours.stderr
    for command in (OURS, THEIRS):
        assert run([*command, "validate", "--tasks", "no-such-task"], tmp_path).returncode == 1
