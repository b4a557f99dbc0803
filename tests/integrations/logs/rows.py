"""Rows as lm-evaluation-harness 0.4.13 logs them, made by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DATE = "2026-11-20T10-00-00.123456"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def generated(
    doc_id: int,
    right: bool,
    *,
    question: str | None = None,
    target: str | None = None,
    filter_: str = "none",
    metric: str = "exact_match",
    shots: str = "",
    **more: Any,
) -> dict[str, Any]:
    """Return a row of a ``generate_until`` task."""
    doc = {"id": f"q{doc_id}", "question": question or f"Question {doc_id}?"}
    target = f"answer {doc_id}" if target is None else target
    prompt = f"{shots}{doc['question']}"
    answer = target if right else "something else"
    row = {
        "doc_id": doc_id,
        "doc": doc,
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {"until": ["\n"]}}},
        "resps": [[f" {answer}\nmore"]],
        "filtered_resps": [answer],
        "filter": filter_,
        "metrics": [metric],
        "doc_hash": sha(json.dumps(doc)),
        "prompt_hash": sha(prompt),
        "target_hash": sha(target),
        metric: float(right),
    }
    return {**row, **more}


def chosen(
    doc_id: int, right: bool, *, n_choices: int = 4, label: int | None = None, **more: Any
) -> dict[str, Any]:
    """Return a row of a ``multiple_choice`` task."""
    label = doc_id % n_choices if label is None else label
    choices = [f" choice {i}" for i in range(n_choices)]
    doc = {"id": f"q{doc_id}", "label": label}
    best = label if right else (label + 1) % n_choices
    scores = [[str(-1.0 if i == best else -2.5), "False"] for i in range(n_choices)]
    row = {
        "doc_id": doc_id,
        "doc": doc,
        "target": str(label),
        "arguments": {
            f"gen_args_{i}": {"arg_0": f"Which? {doc_id}", "arg_1": text}
            for i, text in enumerate(choices)
        },
        "resps": [[score] for score in scores],
        "filtered_resps": scores,
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "doc_hash": sha(json.dumps(doc)),
        "prompt_hash": sha(f"Which? {doc_id}"),
        "target_hash": sha(str(label)),
        "acc": float(right),
        "acc_norm": float(not right),
    }
    return {**row, **more}


def write_samples(
    folder: Path,
    tasks: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    date: str = DATE,
    results: Mapping[str, Any] | None = None,
) -> Path:
    """Write samples files, and a results file if asked, as the harness names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for task, rows in tasks.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"samples_{task}_{date}.jsonl").write_text(lines, "utf-8")
    if results is not None:
        (folder / f"results_{date}.json").write_text(json.dumps(results), "utf-8")
    return folder
