"""Logs of two models, checked to be about the same items, as the rows that the analysis takes.

A *cell* is a task. Its versions in other languages, and runs of the same task under a conjugation,
are the ways of asking it: what ``via`` is in a diagnosis.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from palimpsest.errors import UserError
from palimpsest.judging.compare.arms import Arm, Pair, Pairing, Way, assign, find_arms, look_alikes
from palimpsest.judging.compare.checks import (
    check_parallel,
    check_same_items,
    check_same_under,
    first_of,
    note_missing,
    prompts_differ,
)
from palimpsest.judging.compare.logged import LoggedItem, LoggedRun
from palimpsest.judging.pairing import PLAIN
from palimpsest.records.answers import AnswerKey, AnswerRow
from palimpsest.records.results import Scoring

MOST_LISTED = 5
"""How many gaps a message lists."""


@dataclass
class Matched:
    """What the analysis needs."""

    rows: list[AnswerRow] = field(default_factory=list)
    ways: dict[str, Way] = field(default_factory=dict)
    """By name, plain first."""
    cells: list[str] = field(default_factory=list)
    chances: dict[str, float] = field(default_factory=dict)
    """Of guessing right, by source."""
    metrics: dict[str, str] = field(default_factory=dict)
    """What was scored, by cell."""
    scoring: Scoring = "binary"
    notes: list[str] = field(default_factory=list)


def match(pairs: Mapping[str, Pair], how: Pairing) -> Matched:
    """Return the rows of the comparison.

    Args:
        pairs: Logs of the base and the tuned model, by the conjugation that they were asked under;
            ``identity`` is asking plainly.
        how: How items are matched.

    Raises:
        UserError: The logs are of different tasks or items, or share only some of them.
    """
    gaps: list[str] = []
    names = [task.name for run in pairs[PLAIN] for task in run.tasks]
    found = Matched(notes=look_alikes(names, how))
    roles = assign(names, how)
    arms = [arm for via, pair in pairs.items() for arm in find_arms(pair, via, roles, how, gaps)]
    _refuse_doubles(arms)
    references = {arm.cell: arm for arm in arms if arm.way.name == PLAIN}
    if not references:
        raise _nothing_plain(arms, how) if arms else _different_tasks(pairs[PLAIN])
    for arm in arms:
        reference = references.get(arm.cell)
        if reference is None:
            gaps.append(f"{arm.title} has no answers to the plain prompts to compare with.")
            continue
        keys = _shared(arm, reference, how, found, gaps)
        _add(found, arm, keys)
    found.notes += prompts_differ(arms)
    _report_gaps(gaps, how, found)
    return found


def _refuse_doubles(arms: Sequence[Arm]) -> None:
    seen: dict[tuple[str, str], Arm] = {}
    for arm in arms:
        other = seen.setdefault((arm.cell, arm.way.name), arm)
        if other is not arm:
            raise UserError(
                f"{other.title} and {arm.title} would both be {arm.cell}, asked in the same way.",
                hint="Say which tasks are versions of one another with --parallel, and the "
                "language of every item or of none.",
            )


def _shared(arm: Arm, reference: Arm, how: Pairing, found: Matched, gaps: list[str]) -> list[str]:
    """Return the items that both models answered, in order, after all checks."""
    if arm.base.metric != arm.tuned.metric:
        raise UserError(
            f"{arm.title}: the base model is scored by '{arm.base.metric}', the tuned model by "
            f"'{arm.tuned.metric}'.",
            hint="Choose one that both logs have with --metric.",
        )
    keys = [key for key in arm.base.items if key in arm.tuned.items]
    note_missing(arm, keys, gaps)
    check_same_items(arm, keys)
    if arm is reference:
        return keys
    both = [key for key in keys if key in reference.base.items and key in reference.tuned.items]
    missing = [key for key in reference.base.items if key not in arm.base.items]
    if missing or len(both) < len(keys):
        gaps.append(
            f"{arm.title}: {len(both):,} of {len(reference.base.items):,} items of "
            f"{reference.title} are asked this way as well"
            f"{first_of(missing, 'the first that is not')}."
        )
    if arm.way.language in ("", reference.way.language):
        check_same_under(arm, reference, both, how)
    else:
        found.notes += check_parallel(arm, reference, both)
    return both


def _add(found: Matched, arm: Arm, keys: Sequence[str]) -> None:
    """Add the rows of one arm."""
    if arm.way.name == PLAIN:
        found.cells.append(arm.cell)
        found.metrics[arm.cell] = arm.base.metric
    found.ways.setdefault(arm.way.name, arm.way)
    for role, run, task in (
        ("base", arm.base_run, arm.base),
        ("tuned", arm.tuned_run, arm.tuned),
    ):
        if task.says_abilities and found.scoring != "graded":
            found.scoring = "abilities"
        for key in keys:
            row = _row(role, run, arm, key, task.items[key])
            if row.score is not None:
                found.scoring = "graded"
            found.rows.append(row)
            chance = task.items[key].first.chance
            if arm.way.name == PLAIN and chance is not None:
                found.chances[row.key.source_id] = chance


def _row(role: str, run: LoggedRun, arm: Arm, key: str, item: LoggedItem) -> AnswerRow:
    sample, score = item.first, item.score
    return AnswerRow(
        key=AnswerKey(
            model=run.fingerprint,
            suite="logs",
            source_id=f"{arm.cell}/{key}",
            conjugation=arm.way.name,
            settings=arm.base.metric,
        ),
        role=role,
        via=arm.way.name,
        cell=arm.cell,
        language=arm.way.language,
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


def _report_gaps(gaps: Sequence[str], how: Pairing, found: Matched) -> None:
    more = len(gaps) - MOST_LISTED
    listed = [*gaps[:MOST_LISTED], *([f"… and {more} more such gaps."] if more > 0 else [])]
    if listed and not how.allow_partial:
        raise UserError(
            "The logs do not have the same items:\n" + "\n".join(listed),
            hint="Evaluate both models on the same items, or compare those that all logs have "
            "with --allow-partial.",
        )
    found.notes += listed


def _nothing_plain(arms: Sequence[Arm], how: Pairing) -> UserError:
    languages = dict.fromkeys(arm.way.language for arm in arms if arm.way.language)
    return UserError(
        f"None of the items are in '{how.plain_language}', which is to be the plain language; they "
        f"are in {', '.join(languages)}.",
        hint="Choose one of them with --plain-language, or take each for itself with "
        "--parallel none.",
    )


def _different_tasks(pair: Pair) -> UserError:
    base, tuned = (", ".join(sorted({task.name for task in run.tasks})) for run in pair)
    return UserError(
        f"The two logs have no task in common: {pair[0].name} has {base}; {pair[1].name} has "
        f"{tuned}.",
        hint="Name logs of the same tasks.",
    )
