"""The suite ``jsonl``: the user's own prompts, with the answers of every ability."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import PositiveInt

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import read_bytes
from palimpsest.lm.scoring.scorers import DEFAULT_SCORER, SCORERS
from palimpsest.lm.suites.rows import A_LINE, Numbered, Row, read_rows, report
from palimpsest.lm.suites.suite import Example, Suite

DEFAULT_LANGUAGE = "en"
DEFAULT_GROUP = "all"

MOST_BYTES = 256 * 2**20
"""The largest file; its rows take about ten times as much memory."""

_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r"}


def build(
    file: Path,
    *,
    ability: str | None = None,
    source: str | None = None,
    max_new_tokens: PositiveInt | None = None,
    stop: str | None = None,
) -> Suite:
    r"""Your own prompts: one JSON object a line, with id, prompt, answers, lang and group.

    Args:
        file: Lines of ``{"id", "prompt" or "messages", "answers": {ability: [text, …]}, "lang",
            "group", "choices", "scorer"}``; the last four may be left out: they mean ``en``,
            ``all``, answers that are generated, and ``prefix``.
        ability: The one under test; by default the first of the first row.
        source: The language of the plain prompts; by default ``en`` if there is any, else that of
            the first row.
        max_new_tokens: How much the model may say; by default 10 more than the longest answer has
            bytes, which is enough for any tokenizer that works on bytes.
        stop: An answer ends before it; ``\n`` means a line break, and nothing at all that there is
            no such text. By default a line break, unless some answer has one.

    Raises:
        UserError: The file cannot be read or used; the message names line and field.
    """
    path = file.expanduser()
    content = read_bytes(
        path, most_bytes=MOST_BYTES, hint="Name a file with one JSON object a line."
    )
    rows = read_rows(path, content)
    if not rows:
        raise UserError(
            f"{path} has no examples.",
            hint=f"Write one a line: {A_LINE}",
        )
    ability = _tested(rows, ability, path)
    source = _source(rows, source, path)
    _check(rows, ability, source, path)
    groups = {row.id: row.group for _, row in rows if _language(row) == source}
    examples = tuple(_example(row, ability, groups[row.id]) for _, row in rows)
    texts = [text for _, row in rows for each in row.answers.values() for text in each]
    return Suite(
        name=f"jsonl:{file}",
        examples=examples,
        source_language=source,
        max_new_tokens=max_new_tokens or 10 + max(len(text.encode()) for text in texts),
        stop=_stops(stop, texts),
        chance=_chance([example for example in examples if example.language == source]),
        description=f"The prompts in {path.name}.",
        parameters={
            "file": str(file),
            "sha256": hashlib.sha256(content).hexdigest(),
            "ability": ability,
            "source": source,
        },
    )


def _language(row: Row) -> str:
    return row.lang or DEFAULT_LANGUAGE


def _tested(rows: Sequence[Numbered], ability: str | None, path: Path) -> str:
    """Return the ability under test."""
    if ability is None:
        return next(iter(rows[0].row.answers))
    known = dict.fromkeys(name for _, row in rows for name in row.answers)
    if ability not in known:
        raise UserError(
            f"No row of {path} has answers for the ability '{ability}'."
            f"{did_you_mean(ability, known)}",
            hint=f"It has: {', '.join(known)}.",
        )
    return ability


def _source(rows: Sequence[Numbered], source: str | None, path: Path) -> str:
    """Return the language of the plain prompts."""
    languages = dict.fromkeys(_language(row) for _, row in rows)
    if source is None:
        return DEFAULT_LANGUAGE if DEFAULT_LANGUAGE in languages else next(iter(languages))
    if source not in languages:
        raise UserError(
            f"No row of {path} has the language '{source}'.",
            hint=f"It has: {', '.join(languages)}.",
        )
    return source


def _check(rows: Sequence[Numbered], ability: str, source: str, path: Path) -> None:
    """Raise :class:`UserError` for rows that do not go together."""
    first: dict[tuple[str, str], Numbered] = {}
    sources = {row.id: (line, row) for line, row in reversed(rows) if _language(row) == source}
    mistakes: list[str] = []
    for line, row in rows:
        place = f"{path}, line {line}, field"
        language = _language(row)
        before = first.setdefault((row.id, language), Numbered(line, row))
        if before.line != line:
            mistakes.append(f"{place} id: '{row.id}' in '{language}' is in line {before.line} too.")
        if ability not in row.answers:
            mistakes.append(f"{place} answers: nothing for '{ability}', the ability under test.")
        if row.id not in sources:
            mistakes.append(
                f"{place} id: '{row.id}' has no version in '{source}', the language of the plain "
                "prompts."
            )
            # Once is enough for all versions of it.
            sources[row.id] = (line, row)
        mistakes += _check_group(place, row, *sources[row.id])
        mistakes += _check_choices(place, row, ability)
        if row.scorer is not None and row.scorer not in SCORERS:
            mistakes.append(f"{place} scorer: {SCORERS.unknown(row.scorer).message}")
    report(mistakes, hint="Rows of one id are versions of one example, each in its own language.")


def _check_group(place: str, row: Row, source_line: int, source: Row) -> list[str]:
    wanted = source.group or DEFAULT_GROUP
    if row.group in (None, wanted):
        return []
    return [f"{place} group: '{row.group}', but its version in line {source_line} has '{wanted}'."]


def _check_choices(place: str, row: Row, ability: str) -> list[str]:
    if row.choices is None or set(row.choices) & set(row.answers.get(ability, row.choices)):
        return []
    return [f"{place} choices: none of them is right, an answer for '{ability}'."]


def _example(row: Row, ability: str, group: str | None) -> Example:
    return Example(
        source_id=row.id,
        cell=group or DEFAULT_GROUP,
        language=_language(row),
        prompt=row.asked,
        answers=_first(row.answers, ability),
        choices=row.choices or (),
        scorer=row.scorer or DEFAULT_SCORER,
    )


def _chance(examples: Sequence[Example]) -> float | None:
    """Return how often drawing among the choices is right, if all examples have some."""
    shares = [
        sum(choice in example.right for choice in example.choices) / len(example.choices)
        for example in examples
        if example.choices
    ]
    return sum(shares) / len(shares) if len(shares) == len(examples) else None


def _first(answers: Mapping[str, tuple[str, ...]], ability: str) -> dict[str, tuple[str, ...]]:
    """Return the answers with those of the ability under test in front."""
    return {ability: answers[ability], **answers}


def _stops(stop: str | None, texts: Sequence[str]) -> tuple[str, ...]:
    if stop is None:
        return () if any("\n" in text.strip() for text in texts) else ("\n",)
    for written, meant in _ESCAPES.items():
        stop = stop.replace(written, meant)
    return (stop,) if stop else ()
