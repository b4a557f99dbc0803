"""``palimpsest lm-eval``: the harness's command, with one model more."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Palimpsest

from palimpsest.lm.models import ROSETTA_WEIGHTS


@pytest.mark.slow
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
    assert "via=leet" in ended.out + ended.err


def test_ctrl_c_does_not_promise_to_go_on(
    palimpsest: Palimpsest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", interrupted)
    with pytest.raises(SystemExit) as ended:
        palimpsest("lm-eval", "run")
    assert ended.value.code == 130
    assert "continue" not in capsys.readouterr().err


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the harness begin at once: without its thousands of tasks, and without a look around."""
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr("lm_eval.tasks.TaskManager", partial(TaskManager, include_defaults=False))
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)
    monkeypatch.setattr("datasets.config.HF_UPDATE_DOWNLOAD_COUNTS", False)  # over the network
    monkeypatch.setattr("lm_eval.__main__.setup_logging", lambda: None)  # would outlive the test


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = [{"text": text} for text in ("Cows eat green grass.", "Boys throw blue balls.")]
    (tmp_path / "rows.json").write_text(json.dumps(rows), "utf-8")
    task = tmp_path / "repeat.yaml"
    task.write_text(
        "task: repeat\n"
        "dataset_path: json\n"
        "dataset_kwargs:\n"
        f"  {{data_files: {{test: {tmp_path}/rows.json}}, cache_dir: {tmp_path}/cache}}\n"
        "output_type: generate_until\n"
        "test_split: test\n"
        'doc_to_text: "Repeat the input.\\n\\nInput: {{text}}\\nOutput:"\n'
        "doc_to_target: text\n"
        'generation_kwargs: {until: ["\\n"], max_gen_toks: 8}\n',
        "utf-8",
    )
    return task


def run_theirs(*words: str) -> None:
    """Run the harness's own command."""
    from lm_eval.__main__ import cli_evaluate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["lm-eval", *words])
        cli_evaluate()


@pytest.mark.slow
@pytest.mark.usefixtures("harness")
def test_a_run_writes_what_the_harness_writes(
    palimpsest: Palimpsest, task: Path, tmp_path: Path
) -> None:
    def words(name: str, model: str, *arguments: str) -> list[str]:
        start = ["run", "--model", model, "--model_args", f"pretrained={ROSETTA_WEIGHTS}/tuned"]
        end = ["--tasks", str(task), "--device", "cpu", "--log_samples", "--output_path"]
        return [*start, *arguments, *end, str(tmp_path / name)]

    run_theirs(*words("plain", "hf"))
    assert palimpsest("lm-eval", *words("same", "conjugate", "inner=hf,via=identity")).code == 0
    assert palimpsest("lm-eval", *words("leet", "conjugate", "inner=hf,via=leet")).code == 0
    plain, same, leet = (samples(tmp_path / name) for name in ("plain", "same", "leet"))
    assert same == plain
    assert [row["resps"] for row in leet] != [row["resps"] for row in plain]
    for key in ("doc_hash", "prompt_hash", "target_hash", "arguments"):
        assert [row[key] for row in leet] == [row[key] for row in plain]
    assert config(tmp_path / "leet")["conjugation"] == "leet"
    assert "conjugation" not in config(tmp_path / "same")


def samples(folder: Path) -> list[dict[str, Any]]:
    [path] = folder.rglob("samples_repeat_*.jsonl")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def config(folder: Path) -> dict[str, Any]:
    [path] = folder.rglob("results_*.json")
    return dict(json.loads(path.read_text("utf-8"))["config"])


@pytest.mark.slow
@pytest.mark.usefixtures("harness")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [("inner=hf", "No conjugation is named"), ("inner=hff,via=leet", "Did you mean 'hf'?")],
)
def test_a_mistake_of_ours_ends_with_what_to_write(
    palimpsest: Palimpsest, task: Path, arguments: str, message: str
) -> None:
    words = ["--model", "conjugate", "--model_args", arguments, "--tasks", str(task)]
    ended = palimpsest("lm-eval", "run", *words)
    assert ended.code == 2
    assert message in ended.err


@pytest.mark.slow
@pytest.mark.usefixtures("harness")
def test_a_failure_of_the_harness_is_its_own(palimpsest: Palimpsest) -> None:
    with pytest.raises(SystemExit) as ended:
        palimpsest("lm-eval", "validate", "--tasks", "no-such-task")
    assert ended.value.code == 1
    with pytest.raises(ValueError, match="Tasks not found: no-such-task"):
        palimpsest("lm-eval", "run", "--tasks", "no-such-task")
