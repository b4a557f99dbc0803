"""Reader of tables of scored answers: CSV, TSV or JSON lines, one row an item."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import json_lines, reading
from palimpsest.integrations.logs.collecting import LogCollector, as_number
from palimpsest.integrations.logs.formats import LogFiles
from palimpsest.judging.compare import LogOptions, Sample, digest_of
from palimpsest.records import Outcome

SUFFIXES = (".csv", ".tsv", ".jsonl")

SCORES = ("score", "correct", "acc", "accuracy", "exact_match")
"""Columns that are taken for the score, the first that there is."""

_WORDS = {"true": 1.0, "false": 0.0}
_OUTCOMES = ("right", "intruded", "broken")
_EXAMPLE = "A table has a row an item, with the columns id and score; see docs/how-to/compare.md"


class Tables:
    """Tables: .csv, .tsv or .jsonl files with the columns id and score.

    Instead of ``id``, what ``--key`` names; and, where there are any, ``task``, ``lang``,
    ``epoch``, ``prompt``, ``answer``, ``target``, ``chance``, and ``outcome`` (right, intruded or
    broken).
    """

    writer = "a table"

    def find(self, path: Path) -> LogFiles | None:
        """Return the file if it is called like a table."""
        return LogFiles([path]) if path.is_file() and path.suffix in SUFFIXES else None

    def read(self, paths: Sequence[Path], log: LogCollector) -> dict[str, Any]:
        """Read the tables of one model."""
        for path in paths:
            for place, row in _rows(path):
                metric = _metric(row, log.options, place)
                log.add(
                    str(row.get("task") or "items"),
                    _sample(row, metric, log, place),
                    metric=metric,
                    place=place,
                    language=log.language_of(row),
                )
        if not log.tasks:
            raise UserError(f"{', '.join(map(str, paths))} has no rows.", hint=_EXAMPLE)
        return {}


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix == ".jsonl":
        yield from json_lines(path)
        return
    try:
        with reading(path), path.open(encoding="utf-8-sig", newline="") as file:
            dialect = "excel-tab" if path.suffix == ".tsv" else "excel"
            reader = csv.DictReader(file, dialect=dialect, strict=True)
            columns = reader.fieldnames or []
            if len(set(columns)) < len(columns):
                raise UserError(
                    f"{path}, line 1: a column comes twice: {', '.join(columns)}.",
                    hint="Give every column a name of its own.",
                )
            for row in reader:
                place = f"{path}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise UserError(
                        f"{place}: not as many fields as the {len(columns)} columns of line 1.",
                        hint="Put texts with commas or line breaks into double quotes.",
                    )
                yield place, cast("dict[str, Any]", row)
    except csv.Error as error:
        raise UserError(f"{path}: not {path.suffix[1:].upper()}: {error}.", hint=_EXAMPLE) from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 (byte 0x{error.object[error.start]:02x}).",
            hint="Save it as UTF-8.",
        ) from None


def _metric(row: Mapping[str, Any], options: LogOptions, place: str) -> str:
    wanted = options.metrics or SCORES
    for name in wanted:
        if name in row:
            return name
    if not options.metrics and "outcome" in row:
        return "outcome"
    known = did_you_mean(wanted[0], row)
    raise UserError(
        f"{place}: no column '{wanted[0]}' with a score.{known}",
        hint=f"Name it with --metric. The columns: {', '.join(row)}.",
    )


def _sample(row: Mapping[str, Any], metric: str, log: LogCollector, place: str) -> Sample:
    texts = {name: str(row.get(name) or "") for name in ("prompt", "answer", "target")}
    outcome = _outcome(row, place)
    return Sample(
        key=log.key_of(row, place, default=row.get("id")),
        score=float(outcome == "right") if metric == "outcome" else _number(row, metric, place),
        item_hash=digest_of(texts["target"]) if texts["target"] else "",
        prompt_hash=digest_of(texts["prompt"]) if texts["prompt"] else "",
        epoch=str(row.get("epoch") or "1"),
        chance=_number(row, "chance", place) if row.get("chance") not in (None, "") else None,
        raw=texts["answer"],
        outcome=outcome,
        **texts,
    )


def _outcome(row: Mapping[str, Any], place: str) -> Outcome | None:
    said = row.get("outcome")
    if said in (None, ""):
        return None
    if said not in _OUTCOMES:
        raise UserError(
            f"{place}: the outcome is '{said}'; expected {', '.join(_OUTCOMES)}.",
            hint="Leave out the column where answers are only right or wrong.",
        )
    return cast("Outcome", said)


def _number(row: Mapping[str, Any], column: str, place: str) -> float:
    value = row.get(column)
    number = as_number(value)
    if number is not None:
        return number
    text = str(value or "").strip()
    try:
        return _WORDS[text.lower()] if text.lower() in _WORDS else float(text)
    except ValueError:
        said = f"is '{text[:40]}'" if text else "is empty"
        raise UserError(
            f"{place}: '{column}' {said}; expected a number, true or false.",
            hint="Choose another column with --metric, or leave out the row from both tables.",
        ) from None
