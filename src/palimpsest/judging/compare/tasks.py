"""Tasks that both of two logs have: which are versions of one, and how each was asked."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from palimpsest.errors import UserError
from palimpsest.judging.compare.logged import LoggedRun, LoggedTask
from palimpsest.judging.pairing import PLAIN
from palimpsest.lm.conjugations import CONJUGATIONS, TextConjugation, parse_conjugation, split_links
from palimpsest.lm.translators import base_language, canonical, is_language

LoggedPair = tuple[LoggedRun, LoggedRun]
"""Of the base and of the tuned model."""

HOLE = "{lang}"
"""Stands for the language in the template of the names of a task's versions."""

_FLORES = re.compile(r"(?<![A-Za-z])[a-z]{3}_[A-Z][a-z]{3}(?![A-Za-z])")
_WORD = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2,3}(?![A-Za-z0-9])")


@dataclass(frozen=True)
class MatchOptions:
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


class LoggedWay(NamedTuple):
    """A way of asking: a language, a conjugation, or one on top of the other."""

    name: str
    language: str
    """Of the prompts; empty where the logs do not say."""
    conjugation: str | None
    """As the user named it."""

    @property
    def native(self) -> bool:
        """Whether it is nothing but another language."""
        return self.conjugation is None

    @property
    def exact(self) -> bool:
        """Whether it is known that every prompt comes back unchanged."""
        known = self._registered()
        return known is not None and known.exact and self.name == self.conjugation

    @property
    def keeps(self) -> str:
        """What comes back, in words."""
        if self.native:
            return f"the task, in the data's own words for '{self.name}'"
        known = self._registered()
        return "what its log does not say" if known is None else known.keeps

    def _registered(self) -> TextConjugation | None:
        if self.conjugation is None:
            return None
        known = all(link in CONJUGATIONS for link in split_links(self.conjugation))
        return parse_conjugation(self.conjugation) if known else None


class PairedTask(NamedTuple):
    """Both models' answers to a task, asked in one way."""

    cell: str
    way: LoggedWay
    base: LoggedTask
    tuned: LoggedTask
    base_run: LoggedRun
    tuned_run: LoggedRun

    @property
    def title(self) -> str:
        """The task, in which language and under which conjugation."""
        return _title(self.base.name, self.base.language, self.way.conjugation)

    @property
    def keys(self) -> list[str]:
        """The items that both models answered."""
        return [key for key in self.base.items if key in self.tuned.items]


class Version(NamedTuple):
    """A task as one of several that are one cell in different languages."""

    cell: str
    """The name that they share."""
    language: str | None
    """Of this version, as the shortest tag that tells it from the others; ``None`` for a task
    without versions."""


def pair_tasks(
    pairs: Mapping[str, LoggedPair], how: MatchOptions, gaps: list[str]
) -> list[PairedTask]:
    """Return the tasks that both models answered, asked in whatever way.

    Args:
        pairs: Logs of both models, by the conjugation that they were asked under.
        how: What makes tasks versions of one another.
        gaps: Where the tasks of only one log are noted.

    Raises:
        UserError: The template of :class:`MatchOptions` has no hole or fits no task.
    """
    versions: dict[str, Version] = {}
    if how.parallel:
        names = [task.name for run in pairs[PLAIN] for task in run.tasks]
        versions = find_versions(names, plain=how.plain_language, template=how.template)
    return [task for via, pair in pairs.items() for task in _under(via, pair, versions, how, gaps)]


def look_alikes(names: Iterable[str], how: MatchOptions) -> list[str]:
    """Say so where tasks look like versions of one, and none is in the plain language."""
    if not how.parallel or how.template is not None:
        return []
    return [
        f"The tasks {template} look like versions of one task, but none is in "
        f"'{how.plain_language}', so each is taken for itself. --plain-language says which "
        "language is the plain one."
        for template, versions in _by_template(list(names), None).items()
        if len(versions) > 1
        and not any(_same(each, how.plain_language) for each in versions.values())
    ]


def _under(
    via: str,
    pair: LoggedPair,
    versions: Mapping[str, Version],
    how: MatchOptions,
    gaps: list[str],
) -> Iterator[PairedTask]:
    conjugation = None if via == PLAIN else via
    base, tuned = ({(task.name, task.language): task for task in run.tasks} for run in pair)
    for role, mine, others in (("base", base, tuned), ("tuned", tuned, base)):
        gaps += [
            f"{_title(*one, conjugation)}: only the {role} model's log has this task."
            for one in mine
            if one not in others
        ]
    for (name, said), task in base.items():
        if (name, said) not in tuned:
            continue
        cell, named = versions.get(name, Version(name, None))
        if said and not how.parallel:
            cell = f"{name} ({said})"
        way = _way((said or named) if how.parallel else None, conjugation, how)
        yield PairedTask(cell, way, task, tuned[name, said], *pair)


def _title(name: str, language: str | None, conjugation: str | None) -> str:
    where = f" in '{language}'" if language else ""
    under = f" under '{conjugation}'" if conjugation else ""
    return f"{name}{where}{under}"


def _way(language: str | None, conjugation: str | None, how: MatchOptions) -> LoggedWay:
    if language is None or _same(language, how.plain_language):
        return LoggedWay(conjugation or PLAIN, language or "", conjugation)
    name = f"{language}|{conjugation}" if conjugation else language
    return LoggedWay(name, language, conjugation)


def find_versions(
    names: Iterable[str], *, plain: str = "en", template: str | None = None
) -> dict[str, Version]:
    """Return the cell and the language of each task.

    Tasks whose names differ in nothing but the code of a language are versions of one task, if one
    of them is in the plain language. Codes are those of ISO 639, or with a script as in FLORES.

    Args:
        names: Of the tasks.
        plain: The language of the prompts that count as plain.
        template: Such as ``xnli_{lang}``: only tasks with such names are versions of one another.

    Raises:
        UserError: The template has no hole, or fits no task, or none in the plain language.

    Example:
        >>> found = find_versions(["xnli_en", "xnli_fr", "arc_easy"])
        >>> found["xnli_fr"], found["arc_easy"]
        (Version(cell='xnli', language='fr'), Version(cell='arc_easy', language=None))
    """
    listed = list(dict.fromkeys(names))
    readings = _by_template(listed, template)
    families = {
        found: versions
        for found, versions in readings.items()
        if any(_same(language, plain) for language in versions.values())
        and (len(versions) > 1 or template is not None)
    }
    if template is not None and not families:
        raise UserError(
            f"No task named like '{template}' is in '{plain}'. The tasks: {', '.join(listed)}.",
            hint="Name the plain language with --plain-language.",
        )
    tasks = {name: Version(name, None) for name in listed}
    # The largest family last: a name with two codes belongs where it has most versions.
    for found, versions in sorted(families.items(), key=lambda pair: len(pair[1])):
        cell = _cell(found)
        taken = listed if cell in listed else [_cell(o) for o in families if o != found]
        for name, language in _shortest(versions).items():
            tasks[name] = Version(found if cell in taken else cell, language)
    return tasks


def _by_template(names: list[str], template: str | None) -> dict[str, dict[str, str]]:
    """Return the languages of the tasks of each template."""
    if template is not None:
        if template.count(HOLE) != 1:
            raise UserError(
                f"The template '{template}' does not say where the language stands.",
                hint=f"Write {HOLE} in its place, as in xnli_{HOLE}, or none.",
            )
        head, tail = map(re.escape, template.split(HOLE))
        pattern = re.compile(f"{head}(.+){tail}")
        matches = {name: pattern.fullmatch(name) for name in names}
        return {template: {name: match[1] for name, match in matches.items() if match is not None}}
    readings: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        for found, language in _readings(name):
            readings[found][name] = language
    return readings


def _readings(name: str) -> Iterator[tuple[str, str]]:
    """Yield every way to see a language in a name: the template and the language."""
    flores = list(_FLORES.finditer(name))
    words = [
        match
        for match in _WORD.finditer(name)
        if not any(one.start() <= match.start() < one.end() for one in flores)
    ]
    for match in (*flores, *words):
        if is_language(base_language(match.group())):
            yield f"{name[: match.start()]}{HOLE}{name[match.end() :]}", match.group()


def _shortest(versions: Mapping[str, str]) -> dict[str, str]:
    """Return the languages without script and region, where these do not tell them apart."""
    bases = Counter(base_language(code) for code in versions.values())
    return {
        name: base_language(code) if bases[base_language(code)] == 1 else canonical(code)
        for name, code in versions.items()
    }


def _same(language: str, plain: str) -> bool:
    return language == plain or base_language(language) == base_language(plain)


def _cell(template: str) -> str:
    """Return the template without its hole and the separator that this leaves over."""
    head, tail = template.split(HOLE)
    if not tail:
        return head.rstrip("_-.: ") or template
    return f"{head}{tail.lstrip('_-.: ')}" or template
