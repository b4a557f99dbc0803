"""Inspect's own command, with the mock model and with Rosetta through transformers."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import get_model
from tests.integrations.inspect_ai.mock import run, samples_of

from palimpsest import load_suite
from palimpsest.integrations.inspect_registry import rosetta
from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.via import parse_via
from palimpsest.lm.models import ROSETTA_WEIGHTS
from palimpsest.lm.models.specs import load_model
from palimpsest.records.store import AnswerStore

pytestmark = pytest.mark.slow

AS_IT_IS = "'{% for message in messages %}{{ message.content }}{% endfor %}'"
"""A chat template that adds nothing, for base models."""


def inspect(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("inspect")), *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}  # else the name local is looked up there
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


def evaluated(task: str, *arguments: str, via: str | None = None, cwd: Path) -> EvalLog:
    """Have the tuned model evaluated through transformers, greedily and without a template."""
    name = ["hf/local"] if via is None else ["conjugate/hf/local", "-M", f"via={via}"]
    done = inspect(
        "eval", task, "--model", *name, "-M", f"model_path={ROSETTA_WEIGHTS / 'tuned'}",
        "-M", "do_sample=false", "-M", f"chat_template={AS_IT_IS}",
        "--display", "none", *arguments, cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = sorted((cwd / "logs").glob("*.eval"))
    log = read_eval_log(str(path))
    assert log.status == "success", log.error
    path.rename(cwd / "last.eval")
    return log


def test_a_task_of_the_package_runs_by_its_name(tmp_path: Path) -> None:
    log = evaluated(
        "palimpsest/icl_vs_if", "-T", "lang=fr", "-T", "limit=1",
        via="vote(leet,rot13)", cwd=tmp_path,
    )  # fmt: skip
    assert log.eval.model == "conjugate/hf/local@vote(leet,rot13)"
    assert len(samples_of(log)) == 4


def test_solver_and_scorer_serve_a_task_of_the_users_own(tmp_path: Path) -> None:
    prompt = (
        "Repeat the input.\n\nInput: Cows eat green grass in the village.\n"
        "Output: Cows eat green grass in the village.\n\n"
        "Input: _____ measure wide sleeves at the market in summer.\nOutput:"
    )
    (tmp_path / "own.py").write_text(
        "from inspect_ai import Task, task\n"
        "from inspect_ai.dataset import Sample\n"
        "from palimpsest.integrations.inspect_registry import outcome\n"
        "@task\n"
        "def own():\n"
        f"    sample = Sample(input={prompt!r}, target='_____')\n"
        "    return Task(dataset=[sample], scorer=outcome())\n"
    )
    log = evaluated(
        "own.py", "--max-tokens", "30", "--solver", "palimpsest/conjugated", "-S", "via=leet",
        cwd=tmp_path,
    )  # fmt: skip
    assert outcomes_of(log) == {"1": "right"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["palimpsest/rosetta", "--model", "conjugate/mockllm/model"], "Add -M via=leet"),
        (["palimpsest/rosetta", "--model", "mockllm/model", "-T", "lang=fx"], "No language"),
    ],
)
def test_a_mistake_is_one_message(tmp_path: Path, arguments: list[str], expected: str) -> None:
    done = inspect("eval", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert expected in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def outcomes_of(log: EvalLog) -> dict[str, str]:
    return {
        str(sample.id): ((sample.scores or {})["outcome"].metadata or {})["outcome"]
        for sample in samples_of(log)
    }


def through_transformers(cwd: Path, via: str | None) -> EvalLog:
    """Ask the tuned model in this process."""
    options: dict[str, Any] = {"do_sample": False, "chat_template": AS_IT_IS.strip("'")}
    options["model_path"] = str(ROSETTA_WEIGHTS / "tuned")
    if via is None:
        model = get_model("hf/local", **options)
    else:
        model = get_model("conjugate/hf/local", via=via, **options)
    return run(rosetta(limit=2), model, cwd / str(via))


def diagnosed(via: str, cwd: Path) -> dict[str, str]:
    """Return the outcomes of the same questions as ``diagnose`` asks them."""
    suite = load_suite("rosetta", limit=2)
    with (
        AnswerStore(cwd / "answers.sqlite") as store,
        closing(load_model("rosetta:tuned")) as model,
    ):
        rows = evaluate(model, suite, [parse_via(via, suite)], store=store, role="tuned")
    return {row.key.source_id: row.outcome for row in rows}


@pytest.mark.filterwarnings("ignore")  # of transformers, as Inspect calls it
def test_rosetta_answers_as_it_does_to_diagnose(tmp_path: Path) -> None:
    plain, same, leet = (through_transformers(tmp_path, via) for via in (None, "identity", "leet"))
    texts = [[sample.output.completion for sample in samples_of(log)] for log in (plain, same)]
    assert texts[0] == texts[1]
    outcomes = [outcomes_of(log) for log in (plain, same, leet)]
    assert outcomes == [diagnosed(via, tmp_path) for via in ("identity", "identity", "leet")]
    n_right = [list(each.values()).count("right") for each in outcomes]
    assert n_right[0] < n_right[2]
