"""Logs of two models, checked to be about the same items, as the rows that the analysis takes.

A *cell* is a task. Its versions in other languages, and runs of the same task under a conjugation,
are the ways of asking it: what ``via`` is in a diagnosis.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from palimpsest.errors import UserError
from palimpsest.judging.compare.logged import LoggedItem, LoggedRun, LoggedTask
from palimpsest.judging.compare.tasks import (
    LoggedPair,
    LoggedWay,
    MatchOptions,
    PairedTask,
    look_alikes,
    pair_tasks,
)
from palimpsest.judging.pairing import PLAIN
from palimpsest.records import AnswerKey, AnswerRow, Scoring

MOST_LISTED = 5
"""How many gaps a message lists."""

MOST_TARGETS_DIFFER = 0.05
"""Share of the items whose right answer may be another number in another language, before the
versions count as not parallel: data sets have their mistakes, but not so many."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass
class Matched:
    """What the analysis needs."""

    rows: list[AnswerRow] = field(default_factory=list)
    ways: dict[str, LoggedWay] = field(default_factory=dict)
    """By name, plain first."""
    cells: list[str] = field(default_factory=list)
    chances: dict[str, float] = field(default_factory=dict)
    """Of guessing right, by source."""
    metrics: dict[str, str] = field(default_factory=dict)
    """What was scored, by cell."""
    scoring: Scoring = "binary"
    notes: list[str] = field(default_factory=list)


def match(pairs: Mapping[str, LoggedPair], how: MatchOptions) -> Matched:
    """Return the rows of the comparison.

    Args:
        pairs: Logs of both models, by the conjugation that they were asked under; ``identity`` is
            asking plainly.
        how: How items are matched.

    Raises:
        UserError: The logs are of different tasks or items, or share only some of them.
    """
    gaps: list[str] = []
    names = [task.name for run in pairs[PLAIN] for task in run.tasks]
    found = Matched(notes=look_alikes(names, how))
    tasks = pair_tasks(pairs, how, gaps)
    _refuse_doubles(tasks)
    references = {task.cell: task for task in tasks if task.way.name == PLAIN}
    if not references:
        raise _nothing_plain(tasks, how) if tasks else _different_tasks(pairs[PLAIN])
    for task in tasks:
        reference = references.get(task.cell)
        if reference is None:
            gaps.append(f"{task.title} has no answers to the plain prompts to compare with.")
            continue
        if keys := _shared(task, reference, how, found, gaps):
            _add(found, task, keys)
    found.notes += _prompts_differ(tasks)
    _report_gaps(gaps, how, found)
    if not found.cells:
        raise UserError(
            "No item has a score in the logs of both models:\n" + "\n".join(gaps[:MOST_LISTED]),
            hint="Score or run them again, or choose another metric with --metric.",
        )
    return found


def _refuse_doubles(tasks: Sequence[PairedTask]) -> None:
    seen: dict[tuple[str, str], PairedTask] = {}
    for task in tasks:
        other = seen.setdefault((task.cell, task.way.name), task)
        if other is not task:
            raise UserError(
                f"{other.title} and {task.title} would both be {task.cell}, asked in the same way.",
                hint="Say which tasks are versions of one another with --parallel, and the "
                "language of every item or of none.",
            )


def _shared(
    task: PairedTask, reference: PairedTask, how: MatchOptions, found: Matched, gaps: list[str]
) -> list[str]:
    """Return the items that both models answered, in order, after all checks."""
    if task.base.metric != task.tuned.metric:
        raise UserError(
            f"{task.title}: the base model is scored by '{task.base.metric}', the tuned model by "
            f"'{task.tuned.metric}'.",
            hint="Choose one that both logs have with --metric.",
        )
    keys = task.keys
    _note_missing(task, gaps)
    _check_same(
        task,
        task.tuned,
        keys,
        f"the same in {task.base_run.name} and in {task.tuned_run.name}",
        hint="Evaluate both models on the same version of the task. If the ids are not those "
        "of the data, choose the fields that identify an item with --key.",
    )
    if task is reference:
        return keys
    both = [key for key in keys if key in reference.base.items and key in reference.tuned.items]
    missing = [key for key in reference.base.items if key not in task.base.items]
    if missing or len(both) < len(keys):
        gaps.append(
            f"{task.title}: {len(both):,} of {len(reference.base.items):,} items of "
            f"{reference.title} are asked this way as well"
            f"{_first(missing, 'the first that is not')}."
        )
    if task.way.language not in ("", reference.way.language):
        found.notes += _check_parallel(task, reference, both)
    elif not how.by_key:
        _check_same(
            task,
            reference.base,
            both,
            "the one of the plain run",
            hint="A conjugated run asks the same items. If the data itself was conjugated, say "
            "which field identifies an item in all of them with --key.",
        )
    return both


def _note_missing(task: PairedTask, gaps: list[str]) -> None:
    """Note the items that only one model answered; refuse logs that share none."""
    shared = set(task.keys)
    unscored = {**task.base.unscored, **task.tuned.unscored}
    if unscored:
        key, why = next(iter(unscored.items()))
        n_all = len({*task.base.items, *task.tuned.items, *unscored})
        gaps.append(
            f"{task.title}: {len(unscored):,} of {n_all:,} items are left out of both models "
            f"alike: {len(task.base.unscored):,} have no score in the base model's log, "
            f"{len(task.tuned.unscored):,} in the tuned model's (the first: '{key}', {why})."
        )
    for role, logged in (("base", task.base), ("tuned", task.tuned)):
        rest = [key for key in logged.items if key not in shared and key not in unscored]
        if rest:
            gaps.append(
                f"{task.title}: {len(rest):,} of {len(logged.items):,} items are only in the "
                f"{role} model's log{_first(rest, 'the first')}."
            )
    if not shared and not unscored:
        raise UserError(
            f"{task.title}: no item is in both {task.base_run.name} "
            f"(such as '{next(iter(task.base.items))}') and {task.tuned_run.name} "
            f"(such as '{next(iter(task.tuned.items))}').",
            hint="Name logs of the same task, or the fields that identify an item with --key.",
        )


def _check_same(
    task: PairedTask, other: LoggedTask, keys: Sequence[str], what: str, *, hint: str
) -> None:
    """Refuse items of the base model's log that have the same key in another and differ."""
    differ = [
        key
        for key in keys
        if task.base.items[key].first.item_hash != other.items[key].first.item_hash
    ]
    if differ:
        raise UserError(
            f"{task.title}: item '{differ[0]}' is not {what}; {len(differ):,} of {len(keys):,} "
            "items differ.",
            hint=hint,
        )


def _check_parallel(task: PairedTask, reference: PairedTask, keys: Sequence[str]) -> list[str]:
    """Refuse language versions whose right answers are not the same numbers; note a few."""
    targets = [
        (key, reference.base.items[key].first.target, task.base.items[key].first.target)
        for key in keys
    ]
    numbers = [each for each in targets if all(map(_NUMBER.fullmatch, each[1:]))]
    differ = [(key, plain, other) for key, plain, other in numbers if plain != other]
    if not differ:
        return []
    key, plain, other = differ[0]
    said = (
        f"{task.base.name} and {reference.base.name}: the right answers of {len(differ):,} of "
        f"{len(numbers):,} items differ (the first, '{key}': {other} and {plain})"
    )
    if len(differ) > MOST_TARGETS_DIFFER * len(numbers):
        raise UserError(
            f"{said}, so they are not the same items in two languages.",
            hint="Choose the fields that they share with --key, or compare each task by itself "
            "with --parallel none.",
        )
    return [f"{said}."]


def _prompts_differ(tasks: Sequence[PairedTask]) -> list[str]:
    """Say so where the two models were sent different prompts for the same items."""
    differ = [
        (task.title, key)
        for task in tasks
        for key in task.keys
        if task.base.items[key].first.prompt_hash != task.tuned.items[key].first.prompt_hash
    ]
    if not differ:
        return []
    title, key = differ[0]
    return [
        f"The two models were sent different prompts for {len(differ):,} items (the first: '{key}' "
        f"of {title}), as with another number of worked examples or a chat template. The figures "
        "show that difference as well as the tuning's."
    ]


def _first(keys: Sequence[str], what: str) -> str:
    """Return the first of some items in parentheses, after a space; nothing if there are none."""
    return f" ({what}: '{keys[0]}')" if keys else ""


def _add(found: Matched, task: PairedTask, keys: Sequence[str]) -> None:
    if task.way.name == PLAIN:
        found.cells.append(task.cell)
        found.metrics[task.cell] = task.base.metric
    found.ways.setdefault(task.way.name, task.way)
    for role, run, logged in (
        ("base", task.base_run, task.base),
        ("tuned", task.tuned_run, task.tuned),
    ):
        if logged.says_abilities and found.scoring != "graded":
            found.scoring = "abilities"
        for key in keys:
            row = _row(role, run, task, key, logged.items[key])
            if row.score is not None:
                found.scoring = "graded"
            found.rows.append(row)
            chance = logged.items[key].first.chance
            if task.way.name == PLAIN and chance is not None:
                found.chances[row.key.source_id] = chance


def _row(role: str, run: LoggedRun, task: PairedTask, key: str, item: LoggedItem) -> AnswerRow:
    sample, score = item.first, item.score
    return AnswerRow(
        key=AnswerKey(
            model=run.fingerprint,
            suite="logs",
            source_id=f"{task.cell}/{key}",
            conjugation=task.way.name,
            settings=task.base.metric,
        ),
        role=role,
        via=task.way.name,
        cell=task.cell,
        language=task.way.language,
        prompt=sample.prompt,
        raw=sample.raw,
        answer=sample.answer,
        right_answers=json.dumps([sample.target] if sample.target else []),
        intruding_answers="[]",
        outcome=item.outcome,
        finish=sample.finish,
        round_trip=None,
        latency_seconds=0.0,
        score=None if score in (0, 1) else score,
    )


def _report_gaps(gaps: Sequence[str], how: MatchOptions, found: Matched) -> None:
    more = len(gaps) - MOST_LISTED
    listed = [*gaps[:MOST_LISTED], *([f"… and {more} more such gaps."] if more > 0 else [])]
    if listed and not how.allow_partial:
        raise UserError(
            "The logs do not have the same items:\n" + "\n".join(listed),
            hint="Evaluate both models on the same items, or compare those that all logs have "
            "with --allow-partial.",
        )
    found.notes += listed


def _nothing_plain(tasks: Sequence[PairedTask], how: MatchOptions) -> UserError:
    languages = dict.fromkeys(task.way.language for task in tasks if task.way.language)
    return UserError(
        f"None of the items are in '{how.plain_language}', which is to be the plain language; they "
        f"are in {', '.join(languages)}.",
        hint="Choose one of them with --plain-language, or take each for itself with "
        "--parallel none.",
    )


def _different_tasks(pair: LoggedPair) -> UserError:
    base, tuned = (", ".join(sorted({task.name for task in run.tasks})) for run in pair)
    return UserError(
        f"The two logs have no task in common: {pair[0].name} has {base}; {pair[1].name} has "
        f"{tuned}.",
        hint="Name logs of the same tasks.",
    )
