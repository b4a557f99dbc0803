"""Held-out text as a suite: each row a continuation whose likelihood is asked for.

A file has one JSON object a line, or one JSON list of objects, in any of the forms that tuning data
comes in:

- ``prompt`` with ``completion`` (as TRL has it, joined as written) or ``answer`` or ``response``
  (after a space, unless white space is there);
- ``instruction``, perhaps with ``input``, and ``output`` (Alpaca): one below the other;
- ``messages``, each with ``role`` and ``content``, the last one of the assistant;
- ``text`` alone, scored from its beginning.

A field ``cell`` groups rows; an ``id`` names a row. Other fields are not read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from palimpsest.errors import UserError, raise_mistakes
from palimpsest.files import digest_json, json_lines
from palimpsest.lm import Message, Prompt
from palimpsest.lm.suites import Example, Suite

MOST_ROWS = 10_000
"""Rows that are read of a file; some hundreds already tell models apart by a percent."""

_FORMS = (
    "Each row needs prompt and completion (or answer), instruction and output, messages, or text."
)


class TextRow(NamedTuple):
    """What comes before, and the text whose likelihood counts."""

    prompt: Prompt
    text: str


def read_text_suite(file: Path, *, name: str = "", limit: int | None = None) -> Suite:
    """Return the rows of a file as a suite in which each continuation is the only choice.

    Args:
        file: JSON lines, or a JSON list.
        name: Of the suite; by default that of the file.
        limit: At most so many rows a cell, the first ones.

    Raises:
        UserError: The file cannot be read, or has a row in none of the forms.
    """
    examples: list[Example] = []
    mistakes: list[str] = []
    n_by_cell: dict[str, int] = {}
    for number, (place, fields) in enumerate(itertools.islice(json_lines(file), MOST_ROWS), 1):
        cell = str(fields.get("cell") or "text")
        if limit is not None and n_by_cell.get(cell, 0) >= limit:
            continue
        try:
            row = parse_text_row(fields)
        except ValueError as error:
            mistakes.append(f"{place}: {error}")
            continue
        n_by_cell[cell] = n_by_cell.get(cell, 0) + 1
        examples.append(_example(str(fields.get("id") or f"{number:06}"), cell, row))
    raise_mistakes(mistakes, hint=_FORMS)
    if not examples:
        raise UserError(f"{file} has no rows.", hint=_FORMS)
    if len({example.source_id for example in examples}) < len(examples):
        raise UserError(f"{file} has an id twice.", hint="Leave the ids out, or mend them.")
    return Suite(
        name=name or f"text:{file}",
        examples=tuple(examples),
        description=f"Held-out text of {file.name}, in bits a byte.",
        parameters={"file": str(file), "rows": digest_json([e.fingerprint for e in examples])},
    )


def parse_text_row(fields: Mapping[str, Any]) -> TextRow:
    r"""Return what a row says.

    Raises:
        ValueError: It has none of the forms, or nothing to score.

    Example:
        >>> parse_text_row({"instruction": "Add.", "input": "5 7", "output": "12"})
        TextRow(prompt='Add.\n5 7\n', text='12')
        >>> parse_text_row({"prompt": "5 plus 7 is", "answer": "12"})
        TextRow(prompt='5 plus 7 is', text=' 12')
    """
    for read in (_prompt_and_answer, _instruction, _dialogue, _text):
        row = read(fields)
        if row is not None:
            if not row.text.strip():
                raise ValueError("nothing to score: the text is empty.")
            return row
    named = ", ".join(map(str, list(fields)[:8])) or "none"
    raise ValueError(f"its fields ({named}) are in none of the forms.")


def _prompt_and_answer(fields: Mapping[str, Any]) -> TextRow | None:
    if not isinstance(fields.get("prompt"), str):
        return None
    prompt = str(fields["prompt"])
    if isinstance(fields.get("completion"), str):
        return TextRow(prompt, str(fields["completion"]))
    for name in ("answer", "response"):
        if isinstance(fields.get(name), str):
            answer = str(fields[name])
            apart = prompt[-1:].isspace() or answer[:1].isspace() or not prompt
            return TextRow(prompt, answer if apart else f" {answer}")
    return None


def _instruction(fields: Mapping[str, Any]) -> TextRow | None:
    if not all(isinstance(fields.get(name), str) for name in ("instruction", "output")):
        return None
    given = fields.get("input")
    parts = [fields["instruction"], *([given] if isinstance(given, str) and given else [])]
    return TextRow("".join(f"{part}\n" for part in parts), str(fields["output"]))


def _dialogue(fields: Mapping[str, Any]) -> TextRow | None:
    messages = fields.get("messages")
    if not isinstance(messages, list):
        return None
    said = list(_messages(messages))
    if not said or said[-1].role != "assistant" or len(said) < 2:
        raise ValueError("messages: the last one has to be the assistant's, behind a user's.")
    return TextRow(tuple(said[:-1]), said[-1].content)


def _messages(messages: list[Any]) -> Iterator[Message]:
    for message in messages:
        known = isinstance(message, dict) and message.get("role") in ("system", "user", "assistant")
        if not known or not isinstance(message.get("content"), str):
            raise ValueError("messages: each needs a role (system, user, assistant) and a text.")
        yield Message(message["role"], message["content"])


def _text(fields: Mapping[str, Any]) -> TextRow | None:
    return TextRow("", str(fields["text"])) if isinstance(fields.get("text"), str) else None


def _example(source_id: str, cell: str, row: TextRow) -> Example:
    return Example(
        source_id=source_id,
        cell=cell,
        language="en",
        prompt=row.prompt,
        answers={"text": (row.text,)},
        choices=(row.text,),
        choices_joined=True,
    )
