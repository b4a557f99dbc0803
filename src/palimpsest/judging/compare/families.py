"""Which tasks are one task in several languages, by their names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from palimpsest.errors import UserError
from palimpsest.lm.translators.languages import base_language, canonical, is_language

HOLE = "{lang}"
"""Stands for the language in the template of a family's names."""

_FLORES = re.compile(r"(?<![A-Za-z])[a-z]{3}_[A-Z][a-z]{3}(?![A-Za-z])")
_WORD = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2,3}(?![A-Za-z0-9])")


class Role(NamedTuple):
    """What a task is in a comparison."""

    cell: str
    """The name that the versions of a task share."""
    language: str | None
    """Of this version, as the shortest tag that tells it from the others; ``None`` for a task
    without versions."""


def assign_roles(
    names: Iterable[str], *, plain: str = "en", template: str | None = None
) -> dict[str, Role]:
    """Return the role of each task.

    Tasks whose names differ in nothing but the code of a language are versions of one task, if one
    of them is in the plain language. Codes are those of ISO 639, or with a script as in FLORES.

    Args:
        names: Of the tasks.
        plain: The language of the prompts that count as plain.
        template: Such as ``xnli_{lang}``: only tasks with such names are versions of one another.

    Raises:
        UserError: The template has no hole, or fits no task, or none in the plain language.

    Example:
        >>> roles = assign_roles(["xnli_en", "xnli_fr", "arc_easy"])
        >>> roles["xnli_fr"], roles["arc_easy"]
        (Role(cell='xnli', language='fr'), Role(cell='arc_easy', language=None))
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
    roles = {name: Role(name, None) for name in listed}
    # The largest family last: a name with two codes belongs where it has most versions.
    for found, versions in sorted(families.items(), key=lambda pair: len(pair[1])):
        cell = _cell(found)
        taken = listed if cell in listed else [_cell(o) for o in families if o != found]
        for name, language in _shortest(versions).items():
            roles[name] = Role(found if cell in taken else cell, language)
    return roles


def is_plain(language: str | None, plain: str) -> bool:
    """Say whether prompts in a language count as plain."""
    return language is None or _same(language, plain)


def without_plain(names: Iterable[str], plain: str) -> list[str]:
    """Return the templates whose tasks look like versions in languages of which none is plain."""
    return [
        template
        for template, versions in _by_template(list(names), None).items()
        if len(versions) > 1 and not any(_same(each, plain) for each in versions.values())
    ]


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
