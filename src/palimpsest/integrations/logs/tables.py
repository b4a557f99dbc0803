"""Reader of tables of scored answers: CSV, TSV or JSON, one row an item."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import begins_list, csv_records, json_lines
from palimpsest.integrations.logs.collecting import (
    LANGUAGE_FIELDS,
    LogCollector,
    as_number,
    is_missing,
)
from palimpsest.integrations.logs.formats import LogFiles
from palimpsest.judging.compare import LogOptions, Sample, Scale, digest_of
from palimpsest.records import Outcome

SUFFIXES = (".csv", ".tsv", ".jsonl")

SCORES = ("score", "correct", "acc", "accuracy", "exact_match")
"""Columns that are taken for the score, the first that there is."""

_COLUMNS = (
    *("id", "task", "epoch", "prompt", "answer", "target", "chance", "outcome"),
    *(*LANGUAGE_FIELDS, *SCORES),
)
_RIGHT = "true yes y t right correct pass passed ok wahr ja vrai oui verdadero vero sí si waar ✓ ✔"
_WRONG = "false no n f wrong incorrect fail failed falsch nein faux non falso onwaar ✗ ✘"
_WORDS = {**dict.fromkeys(_RIGHT.split(), 1.0), **dict.fromkeys(_WRONG.split(), 0.0)}
"""As people and spreadsheets in several languages write it."""

_OUTCOMES = ("right", "intruded", "broken")
_EXAMPLE = "A table has a row an item, with the columns id and score; see docs/how-to/compare.md"
_DELIMITERS = {".csv": ",;\t|", ".tsv": "\t;,|"}
"""What may stand between fields, the usual one first."""

_ESCAPED = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")
"""Text that begins like a formula, as :func:`palimpsest.report.csv_text` writes it."""

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")


class Tables:
    """Tables: .csv, .tsv or .jsonl files, or a list in .json, with the columns id and score.

    Instead of ``id``, what ``--key`` names; and, where there are any, ``task``, ``lang``,
    ``epoch``, ``prompt``, ``answer``, ``target``, ``chance``, and ``outcome`` (right, intruded or
    broken).
    """

    writer = "a table"

    def find(self, path: Path) -> LogFiles | None:
        """Return the file if it is called like a table."""
        if not path.is_file():
            return None
        taken = path.suffix in SUFFIXES or (path.suffix == ".json" and begins_list(path))
        return LogFiles([path]) if taken else None

    def read(self, paths: Sequence[Path], log: LogCollector) -> dict[str, Any]:
        """Read the tables of one model."""
        for path in paths:
            for place, row in _rows(path, log.options):
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


def _rows(path: Path, options: LogOptions) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows with their places, their columns named as they are looked for."""
    asked = (*_COLUMNS, *options.key, *options.metrics, options.language or "id")
    if path.suffix in _DELIMITERS:
        yield from _spreadsheet(path, asked)
        return
    for place, row in json_lines(path):
        yield place, dict(zip(_named(list(row), asked), row.values(), strict=True))


def _spreadsheet(path: Path, asked: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    columns: list[str] = []
    records = csv_records(path, delimiters=_DELIMITERS[path.suffix], hint=_EXAMPLE)
    for n_line, fields in filter(lambda record: record[1], records):
        place = f"{path}, line {n_line}"
        if not columns:
            columns = _named(fields, asked)
            named = [name for name in columns if name]
            if len(set(named)) < len(named):
                raise UserError(
                    f"{place}: a column comes twice: {', '.join(named)}.",
                    hint="Give every column a name of its own.",
                )
            continue
        if not any(map(str.strip, fields)):
            continue
        n_named = max(i for i, name in enumerate(columns, 1) if name or i == 1)
        if len(fields) < n_named or any(map(str.strip, fields[n_named:])):
            raise UserError(
                f"{place}: not as many fields as the {n_named} columns of line 1.",
                hint="Put texts with commas or line breaks into double quotes.",
            )
        texts = (text[1:] if _ESCAPED.match(text) else text for text in fields)
        yield place, {name: text for name, text in zip(columns, texts, strict=False) if name}


def _named(columns: Sequence[str], asked: Iterable[str]) -> list[str]:
    """Return the names of columns, written as they are asked for, whatever their case.

    Example:
        >>> _named(["ID", "Score ", "Note"], ["id", "score"])
        ['id', 'score', 'Note']
    """
    stripped = [name.strip() for name in columns]
    known = {name.casefold(): name for name in asked if name not in stripped}
    return [known.get(name.casefold(), name) for name in stripped]


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
    scale, chance = log.options.scale, row.get("chance")
    return Sample(
        key=log.key_of(row, place, default=row.get("id")),
        score=_score(row, metric, scale, place),
        item_hash=digest_of(texts["target"]) if texts["target"] else "",
        prompt_hash=digest_of(texts["prompt"]) if texts["prompt"] else "",
        epoch=str(row.get("epoch") or "1"),
        chance=None if is_missing(chance) else _number(chance, "chance", Scale(), place),
        raw=texts["answer"],
        outcome=_outcome(row, place),
        **texts,
    )


def _outcome(row: Mapping[str, Any], place: str) -> Outcome | None:
    said = row.get("outcome")
    if is_missing(said):
        return None
    outcome = str(said).strip().casefold()
    if outcome not in _OUTCOMES:
        raise UserError(
            f"{place}: the outcome is '{said}'; expected {', '.join(_OUTCOMES)}.",
            hint="Leave out the column where answers are only right or wrong.",
        )
    return cast("Outcome", outcome)


def _score(row: Mapping[str, Any], metric: str, scale: Scale, place: str) -> float:
    """Return a row's score, NaN where there is none."""
    if is_missing(row.get(metric)):
        return math.nan
    if metric == "outcome":
        return float(_outcome(row, place) == "right")
    return _number(row[metric], metric, scale, place)


def _number(value: Any, column: str, scale: Scale, place: str) -> float:
    """Return a number, in words, in percent or with a decimal comma.

    Percent are hundredths, unless the scale goes beyond 1.
    """
    number = as_number(value)
    if number is not None:
        return number
    text = str(value).strip()
    if (word := text.casefold()) in _WORDS:
        return _WORDS[word]
    greatest = max(map(abs, scale))
    if _THOUSANDS.fullmatch(text) and greatest >= 1000:
        raise UserError(
            f"{place}: '{column}' is '{text}', whose comma may stand before decimals or thousands.",
            hint="Write thousands without a comma, and decimals with a point.",
        )
    digits = text.removesuffix("%").rstrip()
    try:
        number = float(digits.replace(",", ".") if digits.count(",") == 1 else digits)
    except ValueError:
        raise UserError(
            f"{place}: '{column}' is '{text[:40]}'; expected a number, true or false.",
            hint="Choose another column with --metric, or leave out the row from both tables.",
        ) from None
    return number / 100 if digits != text and greatest <= 1 else number
