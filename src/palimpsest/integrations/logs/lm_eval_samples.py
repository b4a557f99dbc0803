"""Reader of ``samples_*.jsonl`` of lm-evaluation-harness, one row an item and filter."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import begins_list, json_lines, parse_json, read_bytes
from palimpsest.integrations.logs.collecting import (
    ACCURACY,
    LogCollector,
    as_number,
    find_field,
    find_metrics,
    is_missing,
    quoted,
)
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

_NAME = re.compile(r"samples_(?P<task>.+?)(?:_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+))?\.jsonl")
_PLACES = ("samples_*.jsonl", "*/samples_*.jsonl", "*/*/samples_*.jsonl")
_OLD_RESULTS = "results.json"
_OLD_PLACES = ("*.jsonl", "*/*.jsonl")
"""Releases before 0.4.3 name a file after the model's arguments and the task."""

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
        if path.name == _OLD_RESULTS:
            old = [each for each in sorted(path.parent.glob("*.jsonl")) if _has_row(each)]
            return LogFiles(old) if old else None
        if path.suffix == ".json":
            return LogFiles([path]) if begins_list(path) and _has_row(path) else None
        if path.suffix != ".jsonl":
            return None
        return LogFiles([path]) if path.name.startswith("samples_") or _has_row(path) else None

    def read(self, paths: Sequence[Path], log: LogCollector) -> dict[str, Any]:
        """Read the samples of one model, one file a task."""
        aggregated = _aggregated(paths)
        tasks = _tasks(paths)
        for path in paths:
            _read_task(path, tasks[path], log, aggregated)
        return {fact: find_field(aggregated, place) for fact, place in _FACTS.items()}


def _in_folder(folder: Path) -> LogFiles | UserError | None:
    found = sorted({path for pattern in _PLACES for path in folder.glob(pattern)})
    if not found:
        others = sorted({path for pattern in _OLD_PLACES for path in folder.glob(pattern)})
        found = [path for path in others if _has_row(path, bears_others=True)]
    if not found:
        patterns = ("results_*.json", "*/results_*.json")
        results = any(next(folder.glob(pattern), None) for pattern in patterns)
        return _without_samples(folder) if results else None
    folders = sorted({path.parent for path in found})
    if len(folders) > 1:
        raise UserError(
            f"{folder} has samples of {len(folders)} models: {', '.join(map(str, folders))}.",
            hint="Name the folder of one model.",
        )
    tasks = _tasks(found)
    return newest_of_each((tasks[path], path) for path in found)  # dates in names sort as they do


def _without_samples(path: Path) -> UserError:
    return UserError(
        f"{path} has the results of lm-evaluation-harness, but not its answers to single items.",
        hint=HOW_TO_LOG,
    )


def _has_row(path: Path, *, bears_others: bool = False) -> bool:
    try:
        _, first = next(json_lines(path), ("", {}))
    except UserError:
        if bears_others:
            return False
        raise
    return "doc_id" in first and ("resps" in first or "filtered_resps" in first)


class _Survey:
    """A first look at all rows of a file: their filters, and the metrics of those that count.

    Args:
        path: Of the file.
        wanted: The filter that counts, if the user chose one; else the first.
        names: Of the filters, in order, for rows that do not name theirs.
    """

    def __init__(self, path: Path, wanted: str | None, names: Sequence[str]) -> None:
        self.path = path
        self.filter = wanted or ""
        self.filters: dict[str, None] = {}
        self.first: tuple[str, list[str]] = (str(path), [])
        """Place and metrics of the first row that counts."""
        self._names = names
        self.spans = find_metrics(self._metrics())

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the rows whose filter counts.

        Releases before 0.4.4 write an item once for each filter, and do not name it.
        """
        seen: dict[str, tuple[int, str]] = {}
        for place, row in json_lines(self.path):
            if row.get("doc_id") is None:
                raise UserError(
                    f"{place}: no field 'doc_id', so this is no sample of lm-evaluation-harness.",
                    hint="Name files that lm_eval --log_samples has written: "
                    "samples_TASK_DATE.jsonl",
                )
            used = row.get("filter")
            if used is None:
                key, said = str(row["doc_id"]), digest_of(row.get("doc"), row.get("resps"))
                n, before = seen.get(key, (0, said))
                n = n if said == before else 0  # another item or answer: an item that comes twice
                seen[key] = n + 1, before
                used = self._names[n] if n < len(self._names) else "none" if n == 0 else str(n + 1)
            self.filters.setdefault(str(used))
            self.filter = self.filter or str(used)
            if str(used) == self.filter:
                yield place, row
        counts = Counter(n for n, _ in seen.values())
        if len(counts) > 1:
            fewer, more = (next(k for k in seen if seen[k][0] == f(counts)) for f in (min, max))
            raise UserError(
                f"{self.path}: item '{more}' comes {seen[more][0]} times, '{fewer}' "
                f"{seen[fewer][0]} times, and no field 'filter' says why.",
                hint="The file may be cut off, or have two runs in it: evaluate again.",
            )

    def _metrics(self) -> Iterator[dict[str, Any]]:
        for place, row in self.rows():
            names = [name for name in _metrics_of(row) if name != INTRUDED]
            if not self.first[1]:
                self.first = place, names
            yield {name: row.get(name) for name in names}


def _read_task(path: Path, task: str, log: LogCollector, aggregated: Mapping[str, Any]) -> None:
    options = log.options
    survey = _Survey(path, options.filter, _filter_names(task, aggregated))
    if survey.filter not in survey.filters:
        raise _nothing_read(path, options.filter, survey.filters)
    place, names = survey.first
    if not survey.spans:
        raise UserError(
            f"{place}: no metric of {task} has a number for a single item"
            f"{' (' + ', '.join(names) + ')' if names else ''}.",
            hint="Metrics over a whole corpus, such as BLEU, cannot be compared item by item.",
        )
    lower = _less_is_better(task, aggregated)
    metric = log.choose_metric(task, survey.spans, place, avoided=lower)
    if metric in lower and options.scale.best > options.scale.worst:
        raise UserError(
            f"{task}: less is better by '{metric}', as its results say.",
            hint="Say what worst and best are, such as --range 1,0, or choose another --metric.",
        )
    for place, row in survey.rows():
        sample, why = _sample(row, metric, log, place)
        language = log.language_of(_item_fields(row)) if options.language else None
        log.add(task, sample, metric=metric, place=place, language=language, why=why)
    others = [name for name in survey.filters if name != survey.filter]
    if others and options.filter is None:
        log.note(
            f"Answers filtered by '{survey.filter}' count, not by {quoted(others)} (--filter)", task
        )


def _nothing_read(path: Path, wanted: str | None, filters: Iterable[str]) -> UserError:
    listed = list(filters)
    if not listed:
        return UserError(f"{path} is empty.", hint=HOW_TO_LOG)
    return UserError(
        f"{path} has no answers filtered by '{wanted}'.{did_you_mean(str(wanted), listed)}",
        hint=f"It has: {', '.join(listed)}.",
    )


def _filter_names(task: str, aggregated: Mapping[str, Any]) -> list[str]:
    """Return the filters in the order in which the results name them: ``metric,filter``."""
    results = find_field(aggregated, "results")
    of_task = results.get(task) if isinstance(results, Mapping) else None
    names = list(of_task) if isinstance(of_task, Mapping) else []
    return list(dict.fromkeys(name.split(",", 1)[1] for name in names if "," in name))


def _less_is_better(task: str, aggregated: Mapping[str, Any]) -> list[str]:
    directions = aggregated.get("higher_is_better")
    of_task = directions.get(task) if isinstance(directions, Mapping) else None
    known = of_task if isinstance(of_task, Mapping) else {}
    return [metric for metric, higher in known.items() if higher is False]


def _tasks(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the task of each file, by its name.

    Old names begin with the model's arguments, which only the results, or the names of the other
    files, tell from the task.
    """
    matches = {path: _NAME.fullmatch(path.name) for path in paths}
    old = [path for path, match in matches.items() if match is None]
    stems = [path.stem for path in old]
    shared = os.path.commonprefix(stems).rpartition("_")[0] + "_"  # noqa: RUF071  # of letters
    found = {}
    for path, match in matches.items():
        if match is not None:
            found[path] = match["task"]
            continue
        results = find_field(_aggregated([path]), "results")
        listed = results if isinstance(results, Mapping) else {}
        ends = [task for task in listed if f"_{path.stem}".endswith(f"_{task}")]
        rest = path.stem.removeprefix(shared) if len(old) > 1 else ""
        found[path] = max(ends, key=len, default=rest or "samples")
    return found


def _aggregated(paths: Iterable[Path]) -> dict[str, Any]:
    """Return the results file that was written with the samples, if it is still beside them."""
    for path in paths:
        match = _NAME.fullmatch(path.name)
        dated = f"results_{match['date']}.json" if match else _OLD_RESULTS
        results = [path.with_name(name) for name in (dated, _OLD_RESULTS)]
        for each in filter(Path.is_file, results):
            try:
                found = parse_json(read_bytes(each, most_bytes=_MOST_RESULTS_BYTES), str(each))
            except UserError:
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


def _sample(
    row: Mapping[str, Any], metric: str, log: LogCollector, place: str
) -> tuple[Sample, str]:
    """Return a row as an answer, and why its score is none, if that is so for another reason.

    Raises:
        UserError: Its metric is neither a number nor missing, or what identifies it is missing.
    """
    score = as_number(row.get(metric))
    if score is None and not is_missing(row.get(metric)):
        found = json.dumps(row.get(metric), default=str)[:60]
        raise UserError(
            f"{place}: '{metric}' is {found}; expected a number.",
            hint="Choose another score with --metric.",
        )
    score = math.nan if score is None else score
    target = str(row.get("target", ""))
    requests = _requests(row.get("arguments"))
    choices = [each[1] for each in requests if len(each) == 2 and isinstance(each[1], str)]
    responses = row.get("filtered_resps", row.get("resps", []))
    if len(choices) > 1:
        raw, answer, finish = _chosen(choices, responses)
    else:
        raw, answer = _innermost(row.get("resps", responses)), _innermost(responses)
        finish = "logged"
    sample = Sample(
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
    return sample, _without_likelihood(responses) if choices else ""


def _without_likelihood(responses: Any) -> str:
    """Say so where log probabilities, each with whether it is the greediest, are no numbers."""
    pairs = [_unwrapped(each) for each in responses] if isinstance(responses, list) else []
    said = [pair[0] for pair in pairs if isinstance(pair, list) and len(pair) == 2]
    numbers = [math.nan if is_missing(each) else _float(each) for each in said]
    if any(math.isnan(each) or each == math.inf for each in numbers):
        return "a log probability of its choices is missing or no number"
    if numbers and all(each == -math.inf for each in numbers):
        return "all log probabilities of its choices are minus infinity"
    return ""


def _unwrapped(response: Any) -> Any:
    while isinstance(response, list) and len(response) == 1:
        response = response[0]
    return response


def _float(value: Any) -> float:
    """Return a number, also from text; 0 for what is no likelihood at all."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0


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
    if not ACCURACY.match(metric) or value not in (0, 1):
        return None
    # For mutual information every choice is asked for twice, the second time without a context.
    n_choices = len(choices) // 2 if "acc_mutual_info" in _metrics_of(row) else len(choices)
    return 1 / n_choices if n_choices > 1 else None


def _chosen(choices: Sequence[str], responses: Any) -> tuple[str, str, str]:
    """Return all choices with their natural-log probabilities, the likeliest, and a finish."""
    scores: dict[str, float] = {}
    try:
        for choice, response in zip(choices, responses, strict=False):
            scores.setdefault(choice, float(_unwrapped(response)[0]))
    except (TypeError, ValueError, IndexError):
        return json.dumps(responses, ensure_ascii=False, default=str), "", "logged"
    if not scores:
        return "", "", "logged"
    best = max(scores, key=lambda choice: scores[choice])
    return json.dumps(scores, ensure_ascii=False), best, "chosen"


def _innermost(value: Any) -> str:
    """Return the text in nested lists of one element; several as JSON."""
    value = _unwrapped(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
