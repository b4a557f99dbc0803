"""Prompts without labels, from a file: one a line, or the rows of a ``jsonl`` suite."""

from __future__ import annotations

from pathlib import Path

from palimpsest.errors import UserError, raise_mistakes
from palimpsest.files import read_text
from palimpsest.lm.suites import (
    DEFAULT_GROUP,
    DEFAULT_LANGUAGE,
    Example,
    ExampleRow,
    PromptRow,
    Suite,
    read_rows,
    repeated_ids,
    source_language,
)

MOST_BYTES = 50_000_000
"""Of a file of prompts."""

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
        source = source_language(rows)
        raise_mistakes(
            repeated_ids(rows, path),
            hint="Give every prompt an id of its own; its translations share it.",
        )
        examples = [_example(row) for _, row in rows]
    else:
        source = DEFAULT_LANGUAGE
        lines = enumerate(text.split("\n"), start=1)
        examples = [
            Example(
                source_id=f"line {number}",
                cell=DEFAULT_GROUP,
                language=source,
                prompt=line,
                answers={},
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


def _example(row: ExampleRow) -> Example:
    return Example(
        source_id=row.id,
        cell=row.group or DEFAULT_GROUP,
        language=row.language,
        prompt=row.asked,
        answers={},
    )
