"""One row of ``samples_*.jsonl``: what was asked, said and scored."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from palimpsest.errors import UserError
from palimpsest.judging.compare.fields import as_number, digest, key_of
from palimpsest.judging.compare.logged import LogOptions, Sample
from palimpsest.records.answers import Outcome

INTRUDED = "intruded"
"""A task may have a metric of this name, 1 where the answer is another task's."""

_OWN = {
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
}
"""Fields that are no metrics; releases before 0.4.8 do not list the metrics."""

_ACCURACY = re.compile(r"acc|exact_match", re.I)
"""Metrics for which the number of choices says how often a guess is right."""


def metrics_of(row: Mapping[str, Any]) -> list[str]:
    """Return the names of a row's metrics, whether they are numbers or not."""
    listed = row.get("metrics")
    return [
        str(name)
        for name in (
            listed if isinstance(listed, list) else [each for each in row if each not in _OWN]
        )
    ]


def item_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what may identify an item: the document's fields, and the row's own."""
    doc = row.get("doc")
    return {**(doc if isinstance(doc, Mapping) else {}), "doc_id": row["doc_id"], "doc": doc}


def sample_of(row: Mapping[str, Any], metric: str, options: LogOptions, place: str) -> Sample:
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
    choices = [arguments[1] for arguments in requests if _is_choice(arguments)]
    responses = row.get("filtered_resps", row.get("resps", []))
    said = _chosen(choices, responses) if len(choices) > 1 else _generated(row, responses)
    return Sample(
        key=key_of(item_fields(row), options, place) if options.key else str(row["doc_id"]),
        score=score,
        item_hash=digest(
            row.get("doc_hash") or digest(row.get("doc")), row.get("target_hash") or digest(target)
        ),
        prompt_hash=str(row.get("prompt_hash") or digest(requests[:1])),
        chance=_chance(metric, score, choices, row),
        prompt=_prompt(requests),
        raw=said.raw,
        answer=said.answer,
        target=target,
        outcome=_outcome(row, score),
        finish=said.finish,
    )


def _outcome(row: Mapping[str, Any], value: float) -> Outcome | None:
    if INTRUDED not in metrics_of(row):
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


def _is_choice(arguments: Sequence[Any]) -> bool:
    return len(arguments) == 2 and isinstance(arguments[1], str)


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
    n_choices = len(choices) // 2 if "acc_mutual_info" in metrics_of(row) else len(choices)
    return 1 / n_choices if n_choices > 1 else None


class _Said(NamedTuple):
    """What a model said to an item."""

    raw: str
    answer: str
    finish: str


def _chosen(choices: Sequence[str], responses: Any) -> _Said:
    """Return the likeliest choice; raw are all with their natural-log probabilities."""
    scores: dict[str, float] = {}
    if not isinstance(responses, list):
        responses = []
    for choice, response in zip(choices, responses, strict=False):
        try:
            scores.setdefault(choice, float(response[0]))
        except (TypeError, ValueError, IndexError):
            return _Said(json.dumps(responses, ensure_ascii=False, default=str), "", "logged")
    if not scores:
        return _Said("", "", "logged")
    raw = json.dumps(scores, ensure_ascii=False)
    return _Said(raw, max(scores, key=lambda choice: scores[choice]), "chosen")


def _generated(row: Mapping[str, Any], responses: Any) -> _Said:
    raw, answer = _innermost(row.get("resps", responses)), _innermost(responses)
    return _Said(raw, answer, "logged")


def _innermost(value: Any) -> str:
    """Return the text in nested lists of one element; several as JSON."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
