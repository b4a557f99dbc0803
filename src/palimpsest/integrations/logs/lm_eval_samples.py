"""``samples_*.jsonl`` of lm-evaluation-harness, one row an item and filter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import json_lines, read_bytes
from palimpsest.integrations.logs.choices import Notes, choose_metric, quoted, unused_note
from palimpsest.integrations.logs.lines import fingerprint, without_secrets
from palimpsest.integrations.logs.lm_eval_rows import INTRUDED, item_fields, metrics_of, sample_of
from palimpsest.judging.compare.collecting import Collector
from palimpsest.judging.compare.fields import as_number, find_field, language_of
from palimpsest.judging.compare.logged import LoggedRun, LogOptions

KIND = "lm-evaluation-harness"

HOW_TO_LOG = "Run the evaluation again with: lm_eval … --log_samples --output_path DIR"

_NAME = re.compile(r"samples_(?P<task>.+?)(?:_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+))?\.jsonl")
_PLACES = ("samples_*.jsonl", "*/samples_*.jsonl", "*/*/samples_*.jsonl")
_MOST_RESULTS_BYTES = 64 * 2**20


def is_sample(fields: Mapping[str, Any]) -> bool:
    """Say whether a row is one of the harness's."""
    return "doc_id" in fields and ("resps" in fields or "filtered_resps" in fields)


def find_samples(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the newest samples of each task in an output folder, and notes on older ones.

    Raises:
        UserError: It has results without samples, or samples of several models.
    """
    found = sorted({path for pattern in _PLACES for path in folder.glob(pattern)})
    if not found:
        return [], []
    folders = sorted({path.parent for path in found})
    if len(folders) > 1:
        raise UserError(
            f"{folder} has samples of {len(folders)} models: {', '.join(map(str, folders))}.",
            hint="Name the folder of one model.",
        )
    newest: dict[str, Path] = {}
    for path in found:  # dates in names sort as they should
        newest[_task(path)] = path
    return list(newest.values()), unused_note([p for p in found if p not in newest.values()])


def has_results(folder: Path) -> bool:
    """Say whether the harness wrote aggregated results there."""
    return any(next(folder.glob(p), None) for p in ("results_*.json", "*/results_*.json"))


def without_samples(path: Path) -> UserError:
    """Return the error for a run whose samples were not logged."""
    return UserError(
        f"{path} has the results of lm-evaluation-harness, but not its answers to single items.",
        hint=HOW_TO_LOG,
    )


def read(paths: Sequence[Path], name: str, options: LogOptions) -> LoggedRun:
    """Read the samples of one model.

    Args:
        paths: One file a task.
        name: As the user wrote it.
        options: Metric, filter, key and so on.

    Raises:
        UserError: A row that cannot be read, or lacks what is asked for; the message names its
            line.
    """
    aggregated = _aggregated(paths)
    collector = Collector(options)
    notes = Notes()
    for path in paths:
        _read_task(path, collector, options, aggregated, notes)
    if not collector.tasks:
        raise UserError(f"{name} has no answers.", hint=HOW_TO_LOG)
    facts = _facts(aggregated)
    return LoggedRun(
        name=name,
        kind=KIND,
        model=facts.pop("model", name),
        fingerprint=fingerprint(paths),
        tasks=collector.tasks,
        facts=facts,
        notes=(*notes, *collector.notes),
    )


def _read_task(
    path: Path,
    collector: Collector,
    options: LogOptions,
    aggregated: Mapping[str, Any],
    notes: Notes,
) -> None:
    task, metric, filters = _task(path), "", dict[str, None]()
    for place, row in json_lines(path):
        if row.get("doc_id") is None:
            raise UserError(
                f"{place}: no field 'doc_id', so this is no sample of {KIND}.",
                hint="Name files that lm_eval --log_samples has written: samples_TASK_DATE.jsonl",
            )
        used = str(row.get("filter", "none"))
        filters[used] = None
        if used != (options.filter or next(iter(filters))):
            continue
        if not metric:
            metric = _metric(task, row, options, place, notes)
            _check_direction(task, metric, options, aggregated)
        sample = sample_of(row, metric, options, place)
        language = language_of(item_fields(row), options) if options.language else None
        collector.add(task, sample, metric=metric, place=place, language=language)
    if not metric:
        raise _nothing_read(path, options, filters)
    first, *others = filters
    if others and options.filter is None:
        notes.add(f"Answers filtered by '{first}' count, not by {quoted(others)} (--filter)", task)


def _nothing_read(path: Path, options: LogOptions, filters: Iterable[str]) -> UserError:
    listed = list(filters)
    if not listed:
        return UserError(f"{path} is empty.", hint=HOW_TO_LOG)
    return UserError(
        f"{path} has no answers filtered by '{options.filter}'."
        f"{did_you_mean(str(options.filter), listed)}",
        hint=f"It has: {', '.join(listed)}.",
    )


def _metric(
    task: str, row: Mapping[str, Any], options: LogOptions, place: str, notes: Notes
) -> str:
    listed = metrics_of(row)
    numbers = [name for name in listed if as_number(row.get(name)) is not None and name != INTRUDED]
    if not numbers:
        raise UserError(
            f"{place}: no metric of {task} has a number for a single item"
            f"{' (' + ', '.join(listed) + ')' if listed else ''}.",
            hint="Metrics over a whole corpus, such as BLEU, cannot be compared item by item.",
        )
    return choose_metric(task, numbers, options, place, notes)


def _check_direction(
    task: str, metric: str, options: LogOptions, aggregated: Mapping[str, Any]
) -> None:
    directions = aggregated.get("higher_is_better")
    of_task = directions.get(task) if isinstance(directions, Mapping) else None
    higher = of_task.get(metric) if isinstance(of_task, Mapping) else None
    if higher is False and options.scale.best > options.scale.worst:
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


def _facts(aggregated: Mapping[str, Any]) -> dict[str, str]:
    """Return what the results file says of the run."""
    wanted = {
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
    found = {fact: find_field(aggregated, place) for fact, place in wanted.items()}
    return {
        fact: without_secrets(value if isinstance(value, str) else json.dumps(value, default=str))
        for fact, value in found.items()
        if value not in (None, "", {}, [])
    }
