"""Whether two logs are about the same items."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from palimpsest.errors import UserError
from palimpsest.judging.compare.arms import Arm, Pairing
from palimpsest.judging.compare.logged import LoggedItem

MOST_TARGETS_DIFFER = 0.05
"""Share of the items whose right answer may be another number in another language, before the
versions count as not parallel: data sets have their mistakes, but not so many."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def note_missing(arm: Arm, keys: Sequence[str], gaps: list[str]) -> None:
    """Note the items that only one model answered; refuse logs that share none.

    Args:
        arm: Both models' answers.
        keys: The items that both answered.
        gaps: Where it is noted.

    Raises:
        UserError: There is no item that both answered.
    """
    shared = set(keys)
    for role, task in (("base", arm.base), ("tuned", arm.tuned)):
        rest = [key for key in task.items if key not in shared]
        if rest:
            gaps.append(
                f"{arm.title}: {len(rest):,} of {len(task.items):,} items are only in the {role} "
                f"model's log{first_of(rest, 'the first')}."
            )
    if not keys:
        raise UserError(
            f"{arm.title}: no item is in both {arm.base_run.name} "
            f"(such as '{next(iter(arm.base.items))}') and {arm.tuned_run.name} "
            f"(such as '{next(iter(arm.tuned.items))}').",
            hint="Name logs of the same task, or the fields that identify an item with --key.",
        )


def check_same_items(arm: Arm, keys: Sequence[str]) -> None:
    """Refuse items that have the same key and are not the same."""
    differ = _differing(arm.base.items, arm.tuned.items, keys)
    if differ:
        raise UserError(
            f"{arm.title}: item '{differ[0]}' is not the same in {arm.base_run.name} and in "
            f"{arm.tuned_run.name}; {len(differ):,} of {len(keys):,} items differ.",
            hint="Evaluate both models on the same version of the task. If the ids are not those "
            "of the data, choose the fields that identify an item with --key.",
        )


def prompts_differ(arms: Sequence[Arm]) -> list[str]:
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


def check_same_under(arm: Arm, reference: Arm, keys: Sequence[str], how: Pairing) -> None:
    """Refuse a conjugated run of other items, unless the user says what identifies them."""
    differ = _differing(reference.base.items, arm.base.items, keys)
    if differ and not how.by_key:
        raise UserError(
            f"{arm.title}: item '{differ[0]}' is not the one of the plain run; "
            f"{len(differ):,} of {len(keys):,} items differ.",
            hint="A conjugated run asks the same items. If the data itself was conjugated, say "
            "which field identifies an item in all of them with --key.",
        )


def check_parallel(arm: Arm, reference: Arm, keys: Sequence[str]) -> list[str]:
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


def first_of(keys: Sequence[str], what: str) -> str:
    """Return the first of some items in parentheses, after a space; nothing if there are none."""
    return f" ({what}: '{keys[0]}')" if keys else ""
