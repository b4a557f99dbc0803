"""How fast tasks of lm-evaluation-harness are evaluated: the suite ``lm-eval`` against the harness.

Run it on an otherwise idle machine, with the extra ``lm-eval``:

    python -m benchmarks.lm_eval_tasks             # about five minutes on two cores
    python -m benchmarks.lm_eval_tasks --quick     # fewer prompts and rounds; the ratios are rough

Ours is the task loaded, asked, judged and written to SQLite; the peer is ``simple_evaluate`` with
its own ``hf`` model on the same network. Loading the weights is left out on both sides, and so are
the time in which the harness seeks its batch size and that in which it asks about the machine.
Equal samples are asserted: the same metric of every document, but for ties, which are counted.
Rounds alternate; each figure is the median of its rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from benchmarks.peers import HARNESS_BATCH
from benchmarks.random_llama import SUITE_60M, save_random_llama
from palimpsest.judging import evaluate, parse_via, settings_for
from palimpsest.lm import TIED
from palimpsest.lm.models import load_model
from palimpsest.lm.models.huggingface import HuggingFaceModel
from palimpsest.lm.suites import Example, load_suite
from palimpsest.records import AnswerRow, AnswerStore, answer_flag

GOALS = {"generate": 1.5, "choose": 1.3, "letters": 1.3}

_HEAD = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}, cache_dir: {rows}.cache}}
test_split: test
"""
_CHOICES = """output_type: multiple_choice
doc_to_target: 0
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
TASKS = {
    "generate": """output_type: generate_until
doc_to_text: prompt
doc_to_target: says
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 32}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
""",
    "choose": _CHOICES + "doc_to_text: prompt\ndoc_to_choice: choices\n",
    "letters": _CHOICES + "doc_to_text: listed\ndoc_to_choice: [A, B, C, D]\n",
}
"""Answers of up to 32 tokens; choices of several words; letters of choices, one token each."""


class Run(NamedTuple):
    """What one evaluation gave."""

    seconds: float
    grades: list[float]
    ties: list[bool]


def write_tasks(folder: Path, examples: Sequence[Example]) -> None:
    """Write the tasks, with what is said to other prompts as the wrong choices."""
    queries = [str(each.prompt).rpartition("Input: ")[2].partition("\n")[0] for each in examples]
    lines = []
    for n, each in enumerate(examples):
        choices = [queries[(n + 7 * k) % len(queries)] for k in range(4)]
        listed = "\n".join(
            f"{letter}. {text}" for letter, text in zip("ABCD", choices, strict=True)
        )
        row = {"prompt": each.prompt, "says": each.right[0], "choices": choices,
               "listed": f"{each.prompt}\n{listed}\nAnswer:"}  # fmt: skip
        lines.append(json.dumps(row))
    rows = folder / "rows.jsonl"
    rows.write_text("\n".join(lines), "utf-8")
    for name, body in TASKS.items():
        (folder / f"{name}.yaml").write_text(_HEAD.format(name=name, rows=rows) + body, "utf-8")


def ours(model: HuggingFaceModel, task: str, folder: Path) -> Run:
    """Evaluate as ``diagnose`` does."""
    with tempfile.TemporaryDirectory() as out, AnswerStore(Path(out) / "answers.sqlite") as store:
        started = time.perf_counter()
        suite = load_suite(f"lm-eval:{task},include_path={folder}")
        rows: list[AnswerRow] = evaluate(
            model,
            suite,
            [parse_via("identity", suite)],
            store=store,
            role="base",
            settings=settings_for(suite, [model]),
        )
        seconds = time.perf_counter() - started
    ties = [answer_flag(TIED) in row.all_flags for row in rows]
    return Run(seconds, [float(row.score or 0) for row in rows], ties)


def theirs(model: HFLM, task: str, folder: Path) -> Run:
    """Evaluate as the harness does."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        mock.patch("lm_eval.evaluator.add_env_info"),
    ):
        started = time.perf_counter()
        results: Any = lm_eval.simple_evaluate(
            model=model,
            tasks=[task],
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            bootstrap_iters=0,
        )
        seconds = time.perf_counter() - started
    samples = results["samples"][task]
    metric = "exact_match" if task == "generate" else "acc"
    return Run(seconds, [float(each[metric]) for each in samples], [])


def compare(title: str, spec: str, examples: Sequence[Example], *, rounds: int) -> None:
    """Measure both in turn, assert equal samples, and print the ratios."""
    model = load_model(f"{spec},device=cpu")
    assert isinstance(model, HuggingFaceModel)
    network: Any = model.network
    with contextlib.redirect_stdout(io.StringIO()):
        peer = HFLM(
            pretrained=network, tokenizer=model.tokenizer, batch_size=HARNESS_BATCH, device="cpu"
        )
    print(f"\n{title}: {len(examples)} documents")
    print(f"  {'task':12}{'ours, s':>10}{'harness, s':>12}{'ratio':>8}{'goal':>8}{'ties':>6}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tasks(folder, examples)
        for task, goal in GOALS.items():
            ours(model, task, folder)  # weights, threads and caches are warm from here on
            runs = [(ours(model, task, folder), theirs(peer, task, folder)) for _ in range(rounds)]
            for own, other in runs:
                pairs = zip(own.grades, other.grades, own.ties, strict=True)
                assert all(a == b or tied for a, b, tied in pairs), f"Other samples: {task}"
            own_seconds, other_seconds = (
                statistics.median(run[side].seconds for run in runs) for side in (0, 1)
            )
            print(
                f"  {task:12}{own_seconds:10.2f}{other_seconds:12.2f}"
                f"{other_seconds / own_seconds:8.2f}{goal:8.1f}{sum(runs[0][0].ties):6}"
            )


def main() -> None:
    """Print all ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer prompts and rounds")
    quick = parser.parse_args().quick
    rounds = 1 if quick else 3
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f} before the start; the harness has batches of {HARNESS_BATCH}"
    )
    rosetta = load_suite("rosetta", limit=25 if quick else 100).in_language("en")
    compare("Rosetta, tuned", "rosetta:tuned", rosetta, rounds=rounds)
    with tempfile.TemporaryDirectory() as name:
        suite = load_suite(SUITE_60M, limit=8 if quick else 25)
        spec = save_random_llama(Path(name), [str(each.prompt) for each in suite.examples])
        compare("Random Llama, 58 million parameters", spec, suite.examples, rounds=rounds)


if __name__ == "__main__":
    main()
