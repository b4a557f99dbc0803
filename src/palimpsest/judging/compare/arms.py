"""What both models answered: each task, in each language, under each conjugation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from palimpsest.judging.compare.families import Role, assign_roles, is_plain, without_plain
from palimpsest.judging.compare.logged import LoggedRun, LoggedTask
from palimpsest.judging.pairing import PLAIN

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


class Arm(NamedTuple):
    """Both models' answers to a task, asked in one way."""

    cell: str
    way: Way
    base: LoggedTask
    tuned: LoggedTask
    base_run: LoggedRun
    tuned_run: LoggedRun

    @property
    def title(self) -> str:
        """The task, in which language and under which conjugation."""
        where = f" in '{self.base.language}'" if self.base.language else ""
        under = f" under '{self.way.conjugation}'" if self.way.conjugation else ""
        return f"{self.base.name}{where}{under}"


def assign(names: Sequence[str], how: Pairing) -> dict[str, Role]:
    """Return what each task is: a cell of its own, or a language version of one."""
    if not how.parallel:
        return {name: Role(name, None) for name in names}
    return assign_roles(names, plain=how.plain_language, template=how.template)


def look_alikes(names: Sequence[str], how: Pairing) -> list[str]:
    """Say so where tasks look like versions of one, and none is in the plain language."""
    if not how.parallel or how.template is not None:
        return []
    return [
        f"The tasks {template} look like versions of one task, but none is in "
        f"'{how.plain_language}', so each is taken for itself. --plain-language says which "
        "language is the plain one."
        for template in without_plain(names, how.plain_language)
    ]


def find_arms(
    pair: Pair,
    via: str,
    roles: Mapping[str, Role],
    how: Pairing,
    gaps: list[str],
) -> Iterator[Arm]:
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
        cell, named = roles.get(name, Role(name, None))
        if said and not how.parallel:
            cell = f"{name} ({said})"
        way = _way((said or named) if how.parallel else None, conjugation, how)
        yield Arm(cell, way, task, tuned[name, said], *pair)


def _way(language: str | None, conjugation: str | None, how: Pairing) -> Way:
    if is_plain(language, how.plain_language):
        return Way(conjugation or PLAIN, language or "", conjugation)
    assert language is not None
    name = f"{language}|{conjugation}" if conjugation else language
    return Way(name, language, conjugation)
