"""Reader of ``samples_*.jsonl`` of lm-evaluation-harness, one row an item and filter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import json_lines, read_bytes
from palimpsest.integrations.logs.collecting import LogCollector, as_number, find_field, quoted
from palimpsest.integrations.logs.formats import LogFiles, newest_of_each
from palimpsest.judging.compare import Sample, digest_of
from palimpsest.records import Outcome

HOW_TO_LOG = "Run the evaluation again with: lm_eval … --log_samples --output_path DIR"

INTRUDED = "intruded"
"""A task may have a metric of this name, 1 where the answer is another task's."""

_OWN = {
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
}
"""Fields that are no metrics; releases before 0.4.8 do not list the metrics."""

_ACCURACY = re.compile(r"acc|exact_match", re.I)
"""Metrics for which the number of choices says how often a guess is right."""

_NAME = re.compile(r"samples_(?P<task>.+?)(?:_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+))?\.jsonl")
_PLACES = ("samples_*.jsonl", "*/samples_*.jsonl", "*/*/samples_*.jsonl")
_MOST_RESULTS_BYTES = 64 * 2**20
_FACTS = {
    "model": "model_name",
    "model arguments": "config.model_args",
    "worked examples": "n-shot",
    "limit": "config.limit",
    "generation": "config.gen_kwargs",
    "chat template": "chat_template_sha",
    "lm_eval": "lm_eval_version",
    "transformers": "transformers_version",
    "date": "date",
}
"""What the results file says of the run, and where."""


class LmEvalSamples:
    """Samples of lm-evaluation-harness: samples_*.jsonl, or its output folder."""

    writer = "lm-evaluation-harness"

    def find(self, path: Path) -> LogFiles | UserError | None:
        """Return the newest samples of each task in a folder, or those beside a results file.

        Raises:
            UserError: A folder has samples of several models.
        """
        if path.is_dir():
            return _in_folder(path)
        if path.suffix == ".json" and path.name.startswith("results_"):
            date = path.stem.removeprefix("results_")
            samples = sorted(path.parent.glob(f"samples_*_{date}.jsonl"))
            return LogFiles(samples) if samples else _without_samples(path)
        if path.suffix != ".jsonl":
            return None
        return LogFiles([path]) if path.name.startswith("samples_") or _has_row(path) else None

    def read(self, paths: Sequence[Path], log: LogCollector) -> dict[str, Any]:
        """Read the samples of one model, one file a task."""
        aggregated = _aggregated(paths)
        for path in paths:
            _read_task(path, log, aggregated)
        return {fact: find_field(aggregated, place) for fact, place in _FACTS.items()}


def _in_folder(folder: Path) -> LogFiles | UserError | None:
    found = sorted({path for pattern in _PLACES for path in folder.glob(pattern)})
    if not found:
        results = any(next(folder.glob(p), None) for p in ("results_*.json", "*/results_*.json"))
        return _without_samples(folder) if results else None
    folders = sorted({path.parent for path in found})
    if len(folders) > 1:
        raise UserError(
            f"{folder} has samples of {len(folders)} models: {', '.join(map(str, folders))}.",
            hint="Name the folder of one model.",
        )
    return newest_of_each((_task(path), path) for path in found)  # dates in names sort as they do


def _without_samples(path: Path) -> UserError:
    return UserError(
        f"{path} has the results of lm-evaluation-harness, but not its answers to single items.",
        hint=HOW_TO_LOG,
    )


def _has_row(path: Path) -> bool:
    _, first = next(json_lines(path), ("", {}))
    return "doc_id" in first and ("resps" in first or "filtered_resps" in first)


def _read_task(path: Path, log: LogCollector, aggregated: Mapping[str, Any]) -> None:
    task, metric, filters = _task(path), "", dict[str, None]()
    options = log.options
    for place, row in json_lines(path):
        if row.get("doc_id") is None:
            raise UserError(
                f"{place}: no field 'doc_id', so this is no sample of lm-evaluation-harness.",
                hint="Name files that lm_eval --log_samples has written: samples_TASK_DATE.jsonl",
            )
        used = str(row.get("filter", "none"))
        filters[used] = None
        if used != (options.filter or next(iter(filters))):
            continue
        if not metric:
            metric = _metric(task, row, log, place)
            _check_direction(task, metric, log, aggregated)
        sample = _sample(row, metric, log, place)
        language = log.language_of(_item_fields(row)) if options.language else None
        log.add(task, sample, metric=metric, place=place, language=language)
    if not metric:
        raise _nothing_read(path, options.filter, filters)
    first, *others = filters
    if others and options.filter is None:
        log.note(f"Answers filtered by '{first}' count, not by {quoted(others)} (--filter)", task)


def _nothing_read(path: Path, wanted: str | None, filters: Iterable[str]) -> UserError:
    listed = list(filters)
    if not listed:
        return UserError(f"{path} is empty.", hint=HOW_TO_LOG)
    return UserError(
        f"{path} has no answers filtered by '{wanted}'.{did_you_mean(str(wanted), listed)}",
        hint=f"It has: {', '.join(listed)}.",
    )


def _metric(task: str, row: Mapping[str, Any], log: LogCollector, place: str) -> str:
    listed = _metrics_of(row)
    numbers = [name for name in listed if as_number(row.get(name)) is not None and name != INTRUDED]
    if not numbers:
        raise UserError(
            f"{place}: no metric of {task} has a number for a single item"
            f"{' (' + ', '.join(listed) + ')' if listed else ''}.",
            hint="Metrics over a whole corpus, such as BLEU, cannot be compared item by item.",
        )
    return log.choose_metric(task, numbers, place)


def _check_direction(
    task: str, metric: str, log: LogCollector, aggregated: Mapping[str, Any]
) -> None:
    directions = aggregated.get("higher_is_better")
    of_task = directions.get(task) if isinstance(directions, Mapping) else None
    higher = of_task.get(metric) if isinstance(of_task, Mapping) else None
    scale = log.options.scale
    if higher is False and scale.best > scale.worst:
        raise UserError(
            f"{task}: less is better by '{metric}', as its results say.",
            hint="Say what worst and best are, such as --range 1,0, or choose another --metric.",
        )


def _task(path: Path) -> str:
    match = _NAME.fullmatch(path.name)
    return match["task"] if match else "samples"


def _aggregated(paths: Iterable[Path]) -> dict[str, Any]:
    """Return the results file that was written with the samples, if it is still beside them."""
    for path in paths:
        match = _NAME.fullmatch(path.name)
        results = path.with_name(f"results_{match['date']}.json") if match else path
        if match and results.is_file():
            try:
                content = read_bytes(results, most_bytes=_MOST_RESULTS_BYTES, hint="")
                found = json.loads(content)
            except (UserError, ValueError, RecursionError):
                return {}
            return found if isinstance(found, dict) else {}
    return {}


def _metrics_of(row: Mapping[str, Any]) -> list[str]:
    """Return the names of a row's metrics, whether they are numbers or not."""
    listed = row.get("metrics")
    return list(
        map(str, listed if isinstance(listed, list) else [each for each in row if each not in _OWN])
    )


def _item_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what may identify an item: the document's fields, and the row's own."""
    doc = row.get("doc")
    return {**(doc if isinstance(doc, Mapping) else {}), "doc_id": row["doc_id"], "doc": doc}


def _sample(row: Mapping[str, Any], metric: str, log: LogCollector, place: str) -> Sample:
    """Return a row as an answer.

    Raises:
        UserError: Its metric is no number, or what identifies it is missing.
    """
    score = as_number(row.get(metric))
    if score is None:
        found = json.dumps(row.get(metric), default=str)[:60]
        raise UserError(
            f"{place}: '{metric}' is {found}; expected a number.",
            hint="Choose another score with --metric.",
        )
    target = str(row.get("target", ""))
    requests = _requests(row.get("arguments"))
    choices = [each[1] for each in requests if len(each) == 2 and isinstance(each[1], str)]
    responses = row.get("filtered_resps", row.get("resps", []))
    if len(choices) > 1:
        raw, answer, finish = _chosen(choices, responses)
    else:
        raw, answer = _innermost(row.get("resps", responses)), _innermost(responses)
        finish = "logged"
    return Sample(
        key=log.key_of(_item_fields(row), place, default=row["doc_id"]),
        score=score,
        item_hash=digest_of(
            row.get("doc_hash") or digest_of(row.get("doc")),
            row.get("target_hash") or digest_of(target),
        ),
        prompt_hash=str(row.get("prompt_hash") or digest_of(requests[:1])),
        chance=_chance(metric, score, choices, row),
        prompt=_prompt(requests),
        raw=raw,
        answer=answer,
        target=target,
        outcome=_outcome(row, score),
        finish=finish,
    )


def _outcome(row: Mapping[str, Any], value: float) -> Outcome | None:
    if INTRUDED not in _metrics_of(row):
        return None
    if value == 1:
        return "right"
    return "intruded" if row.get(INTRUDED) == 1 else "broken"


def _requests(arguments: Any) -> list[list[Any]]:
    """Return the requests of an item, each as a list: recent logs name them, older ones do not."""
    if isinstance(arguments, Mapping):
        arguments = [
            list(one.values()) if isinstance(one, Mapping) else one for one in arguments.values()
        ]
    if not isinstance(arguments, list):
        return []
    return [one if isinstance(one, list) else [one] for one in arguments]


def _prompt(requests: Sequence[Sequence[Any]]) -> str:
    """Return the context; where all stands in the choices, these."""
    if not requests or not requests[0]:
        return ""
    context = requests[0][0]
    if context == "":
        return "\n".join(str(arguments[-1]) for arguments in requests)
    return context if isinstance(context, str) else json.dumps(context, ensure_ascii=False)


def _chance(
    metric: str, value: float, choices: Sequence[str], row: Mapping[str, Any]
) -> float | None:
    """Return how often a guess is right, if an item was one of several choices."""
    if not _ACCURACY.match(metric) or value not in (0, 1):
        return None
    # For mutual information every choice is asked for twice, the second time without a context.
    n_choices = len(choices) // 2 if "acc_mutual_info" in _metrics_of(row) else len(choices)
    return 1 / n_choices if n_choices > 1 else None


def _chosen(choices: Sequence[str], responses: Any) -> tuple[str, str, str]:
    """Return all choices with their natural-log probabilities, the likeliest, and a finish."""
    scores: dict[str, float] = {}
    try:
        for choice, response in zip(choices, responses, strict=False):
            scores.setdefault(choice, float(response[0]))
    except (TypeError, ValueError, IndexError):
        return json.dumps(responses, ensure_ascii=False, default=str), "", "logged"
    if not scores:
        return "", "", "logged"
    best = max(scores, key=lambda choice: scores[choice])
    return json.dumps(scores, ensure_ascii=False), best, "chosen"


def _innermost(value: Any) -> str:
    """Return the text in nested lists of one element; several as JSON."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
