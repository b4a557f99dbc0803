"""The suite ``rosetta`` as tasks of lm-evaluation-harness, and runs of them, logged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from palimpsest.lm.conjugations import TextConjugation
from palimpsest.lm.models import ROSETTA_WEIGHTS
from palimpsest.lm.stops import cut
from palimpsest.lm.suites.suite import Suite

YAML = """\
task: {task}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/{task}.jsonl}}, cache_dir: {folder}/cache}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{right[0]}}}}"
process_results: !function scoring.process_results
generation_kwargs: {{until: ["\\n"], max_gen_toks: 10, do_sample: false}}
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: intruded, aggregation: mean, higher_is_better: false}}
"""

SCORING = """\
from palimpsest.lm.scoring.scorers import scorer_for


def process_results(doc, results):
    outcome = scorer_for(doc["right"], doc["intruding"]).outcome(results[0])
    return {"acc": float(outcome == "right"), "intruded": float(outcome == "intruded")}
"""


def export(suite: Suite, folder: Path) -> list[str]:
    """Write a task a cell and language, and return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scoring.py").write_text(SCORING, "utf-8")
    documents: dict[str, list[dict[str, Any]]] = {}
    for example in suite.examples:
        task = f"rosetta_{example.cell.replace('/', '_')}_{example.language}"
        document = {
            "prompt": example.prompt,
            "right": list(example.right),
            "intruding": list(example.intruding),
        }
        documents.setdefault(task, []).append(document)
    for task, rows in documents.items():
        (folder / f"{task}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
        (folder / f"{task}.yaml").write_text(YAML.format(task=task, folder=folder), "utf-8")
    return list(documents)


class Conjugated(LM):  # type: ignore[misc]  # the harness is untyped
    """Asks another of the harness's models under a conjugation."""

    def __init__(self, inner: LM, conjugation: TextConjugation) -> None:
        super().__init__()
        self.inner, self.conjugation = inner, conjugation

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        asked = [
            Instance(
                request_type=each.request_type,
                doc=each.doc,
                arguments=(self.conjugation.apply(each.args[0]), dict(each.args[1])),
                idx=each.idx,
            )
            for each in requests
        ]
        said = self.inner.generate_until(asked)
        return [
            cut(self.conjugation.invert(text), each.args[1]["until"])
            for text, each in zip(said, requests, strict=True)
        ]

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        raise NotImplementedError


def load(role: str) -> LM:
    """Return one of the Rosetta pair as the harness loads it."""
    return HFLM(pretrained=str(ROSETTA_WEIGHTS / role), device="cpu", batch_size=32)


def log(model: LM, name: str, tasks: Sequence[str], task_folder: Path, out: Path) -> Path:
    """Evaluate a model and write its results and samples as ``lm_eval --log_samples`` does."""
    tracker = EvaluationTracker(output_path=str(out))
    tracker.general_config_tracker.log_experiment_args("hf", f"pretrained={name}", "", "", False)
    results = lm_eval.simple_evaluate(
        model=model,
        tasks=list(tasks),
        task_manager=TaskManager(include_path=str(task_folder), include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
        verbosity="ERROR",
    )
    assert results is not None
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])
    return out
