"""Logs made by hand: marks for scores, one an item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from palimpsest.integrations.logs.collecting import LogCollector
from palimpsest.judging.compare.logged import LoggedRun, LogOptions, Sample, digest_of
from palimpsest.records.answers import Outcome

OUTCOMES: Mapping[str, Outcome] = {"1": "right", "0": "broken", "x": "intruded"}


def sample(key: str, score: float, **more: Any) -> Sample:
    """Return an answer whose item is what its key says."""
    fields = {"item_hash": digest_of("item", key), "prompt_hash": digest_of("prompt", key), **more}
    return Sample(key=key, score=score, **fields)


def run(
    name: str,
    tasks: Mapping[str, str],
    *,
    metric: str = "acc",
    chance: float | None = None,
    tells: bool = False,
    start: int = 0,
    **more: Any,
) -> LoggedRun:
    """Return a run from a line of marks a task, 1 for right; items are numbered from ``start``."""
    collector = LogCollector(LogOptions(chance=chance))
    for task, marks in tasks.items():
        for i, mark in enumerate(marks, start):
            one = sample(
                str(i), float(mark == "1"), outcome=OUTCOMES[mark] if tells else None, **more
            )
            collector.add(task, one, metric=metric, place=f"{name}, line {i}")
    return LoggedRun(
        name=name,
        kind="a test",
        model=f"model of {name}",
        fingerprint=digest_of(name, dict(tasks)),
        tasks=collector.tasks,
    )


def graded(name: str, scores: Mapping[str, float | list[float]]) -> LoggedRun:
    """Return a run of one task with a score an item, or one an epoch."""
    collector = LogCollector(LogOptions())
    for key, found in scores.items():
        for epoch, score in enumerate(found if isinstance(found, list) else [found], 1):
            place = f"{name}, {key}, {epoch}"
            one = sample(key, score, epoch=str(epoch))
            collector.add("task", one, metric="f1", place=place)
    return LoggedRun(name, "a test", name, digest_of(name), collector.tasks)
