"""Prompts without labels, from a file: one a line, or the rows of a ``jsonl`` suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from palimpsest.errors import UserError
from palimpsest.files import read_text
from palimpsest.lm.suites.rows import Numbered, PromptRow, Row, read_rows, report
from palimpsest.lm.suites.suite import Example, Suite

MOST_BYTES = 50_000_000
"""Of a file of prompts."""

SOURCE_LANGUAGE = "en"
A_LINE = '{"id": "1", "prompt": "What is 5 plus 7?", "lang": "en"}'


def read_prompts(path: Path, *, limit: int | None = None) -> Suite:
    """Return the prompts in a file as a suite whose examples have no answers.

    A file that ends in ``.jsonl`` or ``.json`` has the rows of a ``jsonl`` suite, in which answers
    may be missing; rows that share an id are one prompt in several languages. In any other file
    each line that is not blank is a prompt in English.

    Args:
        path: Of the file.
        limit: At most so many prompts, the first ones.

    Raises:
        UserError: The file cannot be read, is no text, or has no prompts; a row is malformed.
    """
    text = read_text(path, most_bytes=MOST_BYTES)
    if path.suffix.lower() in {".jsonl", ".json"}:
        rows = read_rows(path, text.encode(), kind=PromptRow, example=A_LINE)
        source = _source(rows)
        _check(rows, path)
        examples = [_example(row) for _, row in rows]
    else:
        source = SOURCE_LANGUAGE
        lines = enumerate(text.split("\n"), start=1)
        examples = [
            Example(
                source_id=f"line {number}", cell="all", language=source, prompt=line, answers={}
            )
            for number, line in lines
            if line.strip()
        ]
    kept = [example.source_id for example in examples if example.language == source][:limit]
    if not kept:
        raise UserError(
            f"'{path}' has no prompts.", hint=f"Write one a line, or JSON rows such as: {A_LINE}"
        )
    ids = set(kept)
    return Suite(
        name=str(path),
        examples=tuple(example for example in examples if example.source_id in ids),
        source_language=source,
    )


def _source(rows: Sequence[Numbered]) -> str:
    """Return the language of the plain prompts, as the ``jsonl`` suite chooses it."""
    languages = dict.fromkeys(_language(row) for _, row in rows)
    return SOURCE_LANGUAGE if SOURCE_LANGUAGE in languages else next(iter(languages), "")


def _language(row: Row) -> str:
    return row.lang or SOURCE_LANGUAGE


def _check(rows: Sequence[Numbered], path: Path) -> None:
    seen: dict[tuple[str, str], int] = {}
    mistakes = []
    for line, row in rows:
        before = seen.setdefault((row.id, _language(row)), line)
        if before != line:
            mistakes.append(
                f"{path}, line {line}, field id: '{row.id}' in '{_language(row)}' is in line "
                f"{before} too."
            )
    report(mistakes, hint="Give every prompt an id of its own; its translations share it.")


def _example(row: Row) -> Example:
    return Example(
        source_id=row.id,
        cell=row.group or "all",
        language=_language(row),
        prompt=row.asked,
        answers={},
    )
