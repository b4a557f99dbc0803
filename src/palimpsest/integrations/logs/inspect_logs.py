"""Reader of logs of Inspect AI, ``.eval`` and ``.json``, one sample an item and epoch."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.files import begins_list
from palimpsest.integrations.logs.bounds import check_json, check_zip
from palimpsest.integrations.logs.collecting import (
    LogCollector,
    as_number,
    find_metrics,
    is_missing,
)
from palimpsest.integrations.logs.formats import LogFiles, newest_of_each
from palimpsest.judging.compare import Sample, digest_of
from palimpsest.records import Outcome

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample, EvalSampleSummary

_N_AT_A_TIME = 200
"""Samples in memory."""

_MOST_SAMPLE_BYTES = 256 * 2**20
"""Of one sample in an ``.eval`` log, unpacked."""

_MOST_HEADER_BYTES = 64 * 2**20
"""Of the files in an ``.eval`` log that are no samples, each, unpacked."""

_WRITTEN_BY = "Name a .eval file that inspect eval has written."
_NOT_NEEDED = {"events", "store", "timelines"}
_VALUES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "YES": 1.0, "TRUE": 1.0, "NO": 0.0, "FALSE": 0.0}
"""What scorers say in letters, as Inspect itself counts it."""


_OUTCOMES: Mapping[Any, Outcome] = {
    "right": "right",
    "intruded": "intruded",
    "broken": "broken",
    "unparsed": "broken",
}
"""What a scorer may say of whose answer it is."""


class InspectLogs:
    """Logs of Inspect AI: .eval or .json files, or a folder with .eval files.

    Metrics are scorers, and for a scorer with several values ``scorer.value``.
    """

    writer = "Inspect AI"

    def find(self, path: Path) -> LogFiles | None:
        """Return a file, or the newest log in a folder of each task with its arguments."""
        if path.is_file():
            taken = path.suffix == ".eval" or (path.suffix == ".json" and not begins_list(path))
            return LogFiles([path]) if taken else None
        specs = {log: _header(log).eval for log in sorted(path.glob("*.eval"))}
        # Inspect dates logs to the second; of two in one second the one written last is the newer.
        dated = sorted(specs, key=lambda log: (specs[log].created, log.stat().st_mtime_ns))
        tasks = [digest_of(specs[log].task, specs[log].task_args) for log in dated]
        return newest_of_each(zip(tasks, dated, strict=True)) if specs else None

    def read(self, paths: Sequence[Path], log: LogCollector) -> dict[str, Any]:
        """Read the logs of one model, one a task.

        Raises:
            MissingExtraError: Inspect is not installed.
        """
        headers = [_header(path) for path in paths]
        for path, header in zip(paths, headers, strict=True):
            _check_finished(path, header, log)
            _read_task(path, header, log)
        models = dict.fromkeys(header.eval.model for header in headers)
        if len(models) > 1:
            raise UserError(
                f"{paths[0]} and others are logs of {len(models)} models: {', '.join(models)}.",
                hint="Name the logs of one model.",
            )
        return _facts(headers[0])


def _header(path: Path) -> EvalLog:
    try:
        from inspect_ai.log import read_eval_log
    except ImportError as error:
        raise MissingExtraError("Inspect logs", package="inspect_ai", extra="inspect") from error
    if path.suffix == ".eval":
        check_zip(
            path,
            lambda name: not _is_sample(name),
            most_bytes=_MOST_HEADER_BYTES,
            hint=_WRITTEN_BY,
        )
    else:
        check_json(path, hint="Convert it with: inspect log convert --to eval")
    try:
        return read_eval_log(str(path.absolute()), header_only=True)
    except Exception as error:  # whatever zip, JSON and pydantic make of another file
        raise _not_a_log(path, error) from error


def _is_sample(name: str) -> bool:
    return name.startswith("samples/")


def _not_a_log(path: Path, error: Exception) -> UserError:
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(
        f"{path} is no log of Inspect that can be read: {said[:200]}",
        hint=_WRITTEN_BY,
    )


def _check_finished(path: Path, header: EvalLog, log: LogCollector) -> None:
    if header.status == "success":
        return
    said = f"The log did not finish, its status is '{header.status}'"
    if log.options.complete:
        raise UserError(
            f"{path}: {said}.",
            hint="Finish it with: inspect eval-retry LOG, or take what there is with "
            "--allow-partial.",
        )
    log.note(said, header.eval.task)


def _read_task(path: Path, header: EvalLog, log: LogCollector) -> None:
    task, (known, samples) = header.eval.task, _samples(path)
    spans = find_metrics(
        {name: scored.value for name, scored in _scores(one).items()} for one in known
    )
    if not spans:
        raise UserError(f"{path} has no scores.", hint="Score it with: inspect score LOG")
    metric = log.choose_metric(task, spans, str(path))
    for sample in samples:
        place = f"{path}, sample '{sample.id}', epoch {sample.epoch}"
        scores = _scores(sample)
        log.add(
            task,
            _sample(sample, scores.get(metric, _Scored()), log, place, chance=_chance(header)),
            metric=metric,
            place=place,
            language=log.language_of(_fields(sample)),
            why="" if metric in scores else _why_unscored(sample, metric, list(scores)),
        )


def _samples(
    path: Path,
) -> tuple[Sequence[EvalSample | EvalSampleSummary], Iterable[EvalSample]]:
    """Return what tells all scores, and the samples, a few of them in memory at a time."""
    from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries

    log = str(path.absolute())
    try:
        if path.suffix == ".json":
            samples = read_eval_log(log, resolve_attachments="core").samples or []
            return samples, samples
        summaries = read_eval_log_sample_summaries(log)
    except Exception as error:
        raise _not_a_log(path, error) from error
    check_zip(path, _is_sample, most_bytes=_MOST_SAMPLE_BYTES)
    return summaries, _by_few(path, [(one.id, one.epoch) for one in summaries])


def _by_few(path: Path, known: Sequence[tuple[str | int, int]]) -> Iterator[EvalSample]:
    from inspect_ai.log import read_eval_log_samples_by_id

    log = str(path.absolute())
    for start in range(0, len(known), _N_AT_A_TIME):
        some = known[start : start + _N_AT_A_TIME]
        try:
            found = read_eval_log_samples_by_id(
                log, some, resolve_attachments="core", exclude_fields=_NOT_NEEDED
            )
        except Exception as error:
            raise _not_a_log(path, error) from error
        yield from found


class _Scored(NamedTuple):
    """One number of one scorer, NaN where it gave none."""

    value: float = math.nan
    answer: str = ""
    outcome: Outcome | None = None


def _scores(sample: EvalSample | EvalSampleSummary) -> dict[str, _Scored]:
    """Return every number that the scorers gave, by ``scorer`` or ``scorer.value``."""
    found = {}
    for scorer, score in (sample.scores or {}).items():
        answer = score.answer if isinstance(score.answer, str) else ""
        outcome = _OUTCOMES.get((score.metadata or {}).get("outcome"))
        values = score.value if isinstance(score.value, Mapping) else {"": score.value}
        for name, value in values.items():
            number = _number(value)
            if number is not None:
                full_name = f"{scorer}.{name}" if name else scorer
                found[full_name] = _Scored(number, answer, outcome)
    return found


def _number(value: Any) -> float | None:
    if is_missing(value):
        return math.nan
    if not isinstance(value, str):
        return as_number(value)
    if value.upper() in _VALUES:
        return _VALUES[value.upper()]
    try:
        return float(value)
    except ValueError:
        return None


def _why_unscored(sample: EvalSample, metric: str, scores: Sequence[str]) -> str:
    if sample.error is not None:
        return f"it failed: {(sample.error.message.splitlines() or [''])[0][:200]}"
    return f"it has {', '.join(scores)}, but not '{metric}'" if scores else "it has no scores"


def _fields(sample: EvalSample) -> dict[str, Any]:
    return {**sample.metadata, "id": sample.id, "metadata": sample.metadata}


def _chance(header: EvalLog) -> float | None:
    """Return the accuracy of guessing, which our own tasks tell."""
    ours = (header.eval.metadata or {}).get("palimpsest")
    return ours.get("chance") if isinstance(ours, Mapping) else None


def _sample(
    sample: EvalSample, scored: _Scored, log: LogCollector, place: str, *, chance: float | None
) -> Sample:
    target = sample.target if isinstance(sample.target, str) else json.dumps(sample.target)
    asked = _messages(sample.input)
    sent = list(itertools.takewhile(lambda one: one[0] != "assistant", _messages(sample.messages)))
    n_choices = len(sample.choices or ())
    guessed = n_choices > 1 and isinstance(sample.target, str) and scored.value in (0, 1)
    completion = sample.output.completion
    return Sample(
        key=log.key_of(_fields(sample), place, default=sample.id),
        score=scored.value,
        item_hash=digest_of(asked, sample.choices, sample.target),
        prompt_hash=digest_of(sent),
        epoch=str(sample.epoch),
        chance=1 / n_choices if guessed else chance,
        prompt=_prompt(sent or asked),
        raw=completion,
        answer=scored.answer or completion,
        target=target,
        outcome=scored.outcome,
    )


def _messages(said: Any) -> list[tuple[str, Any]]:
    """Return role and content of each message, without ids that differ from run to run."""
    if isinstance(said, str):
        return [("user", said)]
    return [(message.role, _content(message.content)) for message in said]


def _content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [part.model_dump(mode="json", exclude_none=True) for part in content]


def _prompt(messages: Sequence[tuple[str, Any]]) -> str:
    if len(messages) == 1 and isinstance(messages[0][1], str):
        return messages[0][1]
    texts = [
        (role, content if isinstance(content, str) else json.dumps(content, ensure_ascii=False))
        for role, content in messages
    ]
    return json.dumps([{"role": role, "content": text} for role, text in texts], ensure_ascii=False)


def _facts(header: EvalLog) -> dict[str, Any]:
    spec = header.eval
    return {
        "model": spec.model,
        "model arguments": spec.model_args,
        "generation": spec.model_generate_config.model_dump(exclude_none=True),
        "solver": spec.solver,
        "task arguments": spec.task_args,
        "epochs": spec.config.epochs,
        "limit": spec.config.limit,
        "inspect_ai": spec.packages.get("inspect_ai"),
        "date": spec.created,
    }
