"""Inspect's own command, with the mock model and with Rosetta through transformers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalLog, read_eval_log
from tests.integrations.inspect_ai.mock import samples_of

from palimpsest import load_suite
from palimpsest.lm.conjugations.via import parse_via
from palimpsest.lm.evaluate import evaluate
from palimpsest.lm.models.rosetta import ROSETTA_WEIGHTS
from palimpsest.lm.models.specs import load_model
from palimpsest.records.store import AnswerStore

pytestmark = pytest.mark.slow

AS_IT_IS = "'{% for message in messages %}{{ message.content }}{% endfor %}'"
"""A chat template that adds nothing, for base models."""


def inspect(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("inspect")), *arguments]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300
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
        "@task\n"
        "def own():\n"
        f"    return Task(dataset=[Sample(input={prompt!r}, target='_____')])\n"
    )
    outcomes = []
    for solver in ([], ["--solver", "palimpsest/conjugated", "-S", "via=leet"]):
        evaluated("own.py", "--max-tokens", "30", *solver, cwd=tmp_path)
        scored = inspect(
            "score", "last.eval", "--scorer", "palimpsest/outcome", "--overwrite",
            "--action", "overwrite", "--display", "none", cwd=tmp_path,
        )  # fmt: skip
        assert scored.returncode == 0, scored.stdout + scored.stderr
        [sample] = samples_of(read_eval_log(str(tmp_path / "last.eval")))
        outcomes.append(((sample.scores or {})["outcome"].metadata or {})["outcome"])
    assert outcomes == ["broken", "right"]


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


def asked_through_transformers(cwd: Path, via: str | None = None) -> dict[str, Any]:
    """Return completion and outcome of each sample."""
    log = evaluated("palimpsest/rosetta", "-T", "limit=2", via=via, cwd=cwd)
    return {
        str(sample.id): (sample.output.completion, (sample.scores or {})["outcome"].metadata)
        for sample in samples_of(log)
    }


def diagnosed(via: str, cwd: Path) -> dict[str, str]:
    """Return the outcomes of the same questions as ``diagnose`` asks them."""
    suite = load_suite("rosetta", limit=2)
    model = load_model("rosetta:tuned")
    with AnswerStore(cwd / "answers.sqlite") as store:
        rows = evaluate(model, suite, [parse_via(via, suite)], store=store, role="tuned")
    return {row.key.source_id: row.outcome for row in rows}


def test_rosetta_answers_as_it_does_to_diagnose(tmp_path: Path) -> None:
    plain, same, leet = (
        asked_through_transformers(tmp_path, via) for via in (None, "identity", "leet")
    )
    assert same == plain
    for answers, via in ((plain, "identity"), (leet, "leet")):
        outcomes = {source: metadata["outcome"] for source, (_, metadata) in answers.items()}
        assert outcomes == diagnosed(via, tmp_path)
    n_right = [
        sum(metadata["outcome"] == "right" for _, metadata in answers.values())
        for answers in (plain, leet)
    ]
    assert n_right[0] < n_right[1]
