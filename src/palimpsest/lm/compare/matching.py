"""Logs of two models, checked to be about the same items, as the rows that the analysis takes.

A *cell* is a task. Its versions in other languages, and runs of the same task under a conjugation,
are the ways of asking it: what ``via`` is in a diagnosis.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from palimpsest.errors import UserError
from palimpsest.lm.compare.families import assign_roles, is_plain, without_plain
from palimpsest.lm.compare.logged import LoggedItem, LoggedRun, LoggedTask
from palimpsest.lm.pairing import PLAIN
from palimpsest.records.answers import AnswerKey, AnswerRow
from palimpsest.records.results import Scoring

MOST_LISTED = 5
"""How many gaps a message lists."""

MOST_TARGETS_DIFFER = 0.05
"""Share of the items whose right answer may be another number in another language, before the
versions count as not parallel: data sets have their mistakes, but not so many."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?")

Pair = tuple[LoggedRun, LoggedRun]
"""Base and tuned."""


class Way(NamedTuple):
    """A way of asking: a language, a conjugation, or one on top of the other."""

    name: str
    language: str
    """Of the prompts; empty where the logs do not say."""
    conjugation: str | None
    """As the user named it."""


@dataclass(frozen=True)
class Pairing:
    """How items are matched."""

    plain_language: str = "en"
    template: str | None = None
    """Of the names of a task's versions; by default found in the names."""
    parallel: bool = True
    """Whether language versions are looked for at all."""
    by_key: bool = False
    """Whether the user chose what identifies an item; its text may differ under conjugations."""
    allow_partial: bool = False
    """Whether items that are not in all logs are left out instead of refused."""


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


class _Arm(NamedTuple):
    """Both models' answers to a task, asked in one way."""

    cell: str
    way: Way
    base: LoggedTask
    tuned: LoggedTask
    base_run: LoggedRun
    tuned_run: LoggedRun

    @property
    def title(self) -> str:
        """The task, and under which conjugation it was asked."""
        under = f" under '{self.way.conjugation}'" if self.way.conjugation else ""
        return f"{self.base.name}{under}"


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
    found = Matched(notes=_look_alikes(names, how))
    roles = _roles(names, how)
    arms = [arm for via, pair in pairs.items() for arm in _arms(pair, via, roles, how, gaps)]
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
    found.notes += _prompts_differ(arms)
    _report_gaps(gaps, how, found)
    return found


def _roles(names: Sequence[str], how: Pairing) -> dict[str, tuple[str, str | None]]:
    if not how.parallel:
        return {name: (name, None) for name in names}
    roles = assign_roles(names, plain=how.plain_language, template=how.template)
    return {name: (role.cell, role.language) for name, role in roles.items()}


def _look_alikes(names: Sequence[str], how: Pairing) -> list[str]:
    if not how.parallel or how.template is not None:
        return []
    return [
        f"The tasks {template} look like versions of one task, but none is in "
        f"'{how.plain_language}', so each is taken for itself. --plain-language says which "
        "language is the plain one."
        for template in without_plain(names, how.plain_language)
    ]


def _arms(
    pair: Pair,
    via: str,
    roles: Mapping[str, tuple[str, str | None]],
    how: Pairing,
    gaps: list[str],
) -> Iterator[_Arm]:
    """Yield what both models answered; note what only one did."""
    conjugation = None if via == PLAIN else via
    base, tuned = ({(task.name, task.language): task for task in run.tasks} for run in pair)
    for role, mine, others in (("base", base, tuned), ("tuned", tuned, base)):
        for name, language in (one for one in mine if one not in others):
            where = f" in '{language}'" if language else ""
            under = f" under '{conjugation}'" if conjugation else ""
            gaps.append(f"{name}{where}{under}: only the {role} model's log has this task.")
    for (name, said), task in base.items():
        if (name, said) not in tuned:
            continue
        cell, named = roles.get(name, (name, None))
        if said and not how.parallel:
            cell = f"{name} ({said})"
        way = _way((said or named) if how.parallel else None, conjugation, how)
        yield _Arm(cell, way, task, tuned[name, said], *pair)


def _way(language: str | None, conjugation: str | None, how: Pairing) -> Way:
    if is_plain(language, how.plain_language):
        return Way(conjugation or PLAIN, language or "", conjugation)
    assert language is not None
    name = f"{language}|{conjugation}" if conjugation else language
    return Way(name, language, conjugation)


def _shared(arm: _Arm, reference: _Arm, how: Pairing, found: Matched, gaps: list[str]) -> list[str]:
    """Return the items that both models answered, in order, after all checks."""
    if arm.base.metric != arm.tuned.metric:
        raise UserError(
            f"{arm.title}: the base model is scored by '{arm.base.metric}', the tuned model by "
            f"'{arm.tuned.metric}'.",
            hint="Choose one that both logs have with --metric.",
        )
    keys = [key for key in arm.base.items if key in arm.tuned.items]
    _note_missing(arm, keys, gaps)
    _check_same_items(arm, keys)
    if arm is reference:
        return keys
    both = [key for key in keys if key in reference.base.items and key in reference.tuned.items]
    missing = [key for key in reference.base.items if key not in arm.base.items]
    if missing or len(both) < len(keys):
        gaps.append(
            f"{arm.title}: {len(both):,} of {len(reference.base.items):,} items of "
            f"{reference.title} are asked this way as well"
            f"{_first(missing, 'the first that is not')}."
        )
    if arm.way.language in ("", reference.way.language):
        _check_same_under(arm, reference, both, how)
    else:
        found.notes += _check_parallel(arm, reference, both)
    return both


def _note_missing(arm: _Arm, keys: Sequence[str], gaps: list[str]) -> None:
    shared = set(keys)
    for role, task in (("base", arm.base), ("tuned", arm.tuned)):
        rest = [key for key in task.items if key not in shared]
        if rest:
            gaps.append(
                f"{arm.title}: {len(rest):,} of {len(task.items):,} items are only in the {role} "
                f"model's log{_first(rest, 'the first')}."
            )
    if not keys:
        raise UserError(
            f"{arm.title}: no item is in both {arm.base_run.name} "
            f"(such as '{next(iter(arm.base.items))}') and {arm.tuned_run.name} "
            f"(such as '{next(iter(arm.tuned.items))}').",
            hint="Name logs of the same task, or the fields that identify an item with --key.",
        )


def _check_same_items(arm: _Arm, keys: Sequence[str]) -> None:
    """Refuse items that have the same key and are not the same."""
    differ = _differing(arm.base.items, arm.tuned.items, keys)
    if differ:
        raise UserError(
            f"{arm.title}: item '{differ[0]}' is not the same in {arm.base_run.name} and in "
            f"{arm.tuned_run.name}; {len(differ):,} of {len(keys):,} items differ.",
            hint="Evaluate both models on the same version of the task. If the ids are not those "
            "of the data, choose the fields that identify an item with --key.",
        )


def _prompts_differ(arms: Sequence[_Arm]) -> list[str]:
    """Say so where the two models were sent different prompts for the same items."""
    differ = [
        (arm.title, key)
        for arm in arms
        for key, item in arm.base.items.items()
        if key in arm.tuned.items
        and item.first.prompt_hash != arm.tuned.items[key].first.prompt_hash
    ]
    if not differ:
        return []
    title, key = differ[0]
    return [
        f"The two models were sent different prompts for {len(differ):,} items (the first: '{key}' "
        f"of {title}), as with another number of worked examples or a chat template. The figures "
        "show that difference as well as the tuning's."
    ]


def _check_same_under(arm: _Arm, reference: _Arm, keys: Sequence[str], how: Pairing) -> None:
    """Refuse a conjugated run of other items, unless the user says what identifies them."""
    differ = _differing(reference.base.items, arm.base.items, keys)
    if differ and not how.by_key:
        raise UserError(
            f"{arm.title}: item '{differ[0]}' is not the one of the plain run; "
            f"{len(differ):,} of {len(keys):,} items differ.",
            hint="A conjugated run asks the same items. If the data itself was conjugated, say "
            "which field identifies an item in all of them with --key.",
        )


def _check_parallel(arm: _Arm, reference: _Arm, keys: Sequence[str]) -> list[str]:
    """Refuse language versions whose right answers are not the same numbers."""
    targets = [
        (key, reference.base.items[key].first.target, arm.base.items[key].first.target)
        for key in keys
    ]
    numbers = [
        (key, plain, other)
        for key, plain, other in targets
        if _NUMBER.fullmatch(plain) and _NUMBER.fullmatch(other)
    ]
    differ = [(key, plain, other) for key, plain, other in numbers if plain != other]
    if not differ:
        return []
    key, plain, other = differ[0]
    said = (
        f"{arm.base.name} and {reference.base.name}: the right answers of {len(differ):,} of "
        f"{len(numbers):,} items differ (the first, '{key}': {other} and {plain})"
    )
    if len(differ) > MOST_TARGETS_DIFFER * len(numbers):
        raise UserError(
            f"{said}, so they are not the same items in two languages.",
            hint="Choose the fields that they share with --key, or compare each task by itself "
            "with --parallel none.",
        )
    return [f"{said}."]


def _differing(
    one: Mapping[str, LoggedItem], other: Mapping[str, LoggedItem], keys: Sequence[str]
) -> list[str]:
    return [key for key in keys if one[key].first.item_hash != other[key].first.item_hash]


def _add(found: Matched, arm: _Arm, keys: Sequence[str]) -> None:
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


def _row(role: str, run: LoggedRun, arm: _Arm, key: str, item: LoggedItem) -> AnswerRow:
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


def _nothing_plain(arms: Sequence[_Arm], how: Pairing) -> UserError:
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


def _first(keys: Sequence[str], what: str) -> str:
    return f" ({what}: '{keys[0]}')" if keys else ""
