"""Tables that a user has: TSV, JSON lines, Parquet, Arrow, or a folder saved by ``datasets``."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from palimpsest.errors import UserError
from palimpsest.lm.suites.rows import parse_object, report

SUFFIXES = (".tsv", ".jsonl", ".parquet", ".arrow")
"""The files that :func:`read_table` reads, besides folders saved by ``datasets``."""

MOST_BYTES = 512 * 2**20
"""The largest table, in bytes on disk or, if compressed, in memory."""

MOST_ROWS = 200_000
"""The longest table. All fifteen languages of XNLI's test split have 75,150 rows together."""

STATE = "state.json"
"""What ``Dataset.save_to_disk`` leaves in a folder."""


class Record(NamedTuple):
    """One row of a table."""

    place: str
    """File and line (or row) for messages, from 1."""

    fields: Mapping[str, Any]
    """Columns to values."""


class Table(NamedTuple):
    """A table, or what was asked for of it."""

    name: str
    """The path as it was given."""

    columns: tuple[str, ...]
    """All columns that there are; for JSON lines, those of some row."""

    records: tuple[Record, ...]
    """The rows, in order, with the columns that were asked for."""

    sha256: str
    """Of the bytes of its files, in order."""


def is_saved_dataset(path: Path) -> bool:
    """Return whether a folder was written by ``Dataset.save_to_disk``."""
    return (path / STATE).is_file()


def read_table(path: Path, columns: Collection[str]) -> Table:
    """Read some columns of a table, wherever it has them.

    Tables in text are UTF-8; a byte order mark, Windows line ends and empty lines at the end do
    not matter. Fields of a TSV file are taken as they stand: quotation marks mean themselves.

    Args:
        path: A file with one of :data:`SUFFIXES`, or a folder saved by ``datasets``.
        columns: Those wanted; others are left out.

    Raises:
        UserError: The table cannot be read, is malformed, or larger than :data:`MOST_BYTES` or
            :data:`MOST_ROWS`. The message names file and line.
        MissingExtraError: Parquet or Arrow without ``pyarrow``.
    """
    if path.suffix in {".parquet", ".arrow"} or path.is_dir():
        from palimpsest.lm.suites import arrow_tables

        return arrow_tables.read(path, columns)
    content = _content(path)
    lines = content.removeprefix(b"\xef\xbb\xbf").rstrip().split(b"\n")
    n_rows = len(lines) - (path.suffix == ".tsv")  # whose first line names the columns
    if n_rows > MOST_ROWS:
        raise too_long(path, n_rows)
    names, records = _tsv(path, lines) if path.suffix == ".tsv" else _json_lines(path, lines)
    wanted = frozenset(columns)
    kept = tuple(
        Record(place, {key: value for key, value in fields.items() if key in wanted})
        for place, fields in records
    )
    return Table(str(path), names, kept, hashlib.sha256(content).hexdigest())


def checked_size(*paths: Path) -> int:
    """Return how many bytes files have together.

    Raises:
        UserError: One is missing or unreadable, or they are larger than :data:`MOST_BYTES`.
    """
    try:
        n_bytes = sum(path.stat().st_size for path in paths)
    except OSError as error:
        raise unreadable(paths[0], error) from error
    if n_bytes > MOST_BYTES:
        raise too_large(paths[0], n_bytes)
    return n_bytes


def unreadable(path: Path, error: OSError) -> UserError:
    """Return the error for a file that the system does not give."""
    return UserError(
        f"{path} cannot be read: {error.strerror}.", hint="Check the path and its permissions."
    )


def too_large(path: Path, n_bytes: int) -> UserError:
    """Return the error for a table with too many bytes."""
    return UserError(
        f"{path} has {n_bytes / 2**20:,.0f} MiB; at most {MOST_BYTES / 2**20:,.0f} MiB are read.",
        hint="Choose a smaller split, or cut out the rows that you need.",
    )


def too_long(path: Path, n_rows: int) -> UserError:
    """Return the error for a table with too many rows."""
    return UserError(
        f"{path} has {n_rows:,} rows; at most {MOST_ROWS:,} are read.",
        hint="Choose a smaller split, or cut out the rows that you need.",
    )


def _content(path: Path) -> bytes:
    checked_size(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _tsv(path: Path, lines: list[bytes]) -> tuple[tuple[str, ...], list[Record]]:
    mistakes: list[str] = []
    texts = [_decoded(f"{path}, line {i}", line, mistakes) for i, line in enumerate(lines, 1)]
    report(mistakes, hint="Save the file as UTF-8.")
    columns = tuple(texts[0].removesuffix("\r").split("\t"))
    if len(set(columns)) < len(columns):
        mistakes = [f"{path}, line 1: a column comes twice: {', '.join(columns)}."]
    records = []
    for number, text in enumerate(texts[1:], start=2):
        place, fields = f"{path}, line {number}", text.removesuffix("\r").split("\t")
        if len(fields) != len(columns):
            n_fields = "empty" if fields == [""] else f"{len(fields)} fields"
            mistakes.append(f"{place}: {n_fields}, but the first line names {len(columns)}.")
        else:
            records.append(Record(place, dict(zip(columns, fields, strict=True))))
    report(mistakes, hint="One row a line, its fields separated by tabs, without quoting.")
    return columns, records


def _decoded(place: str, line: bytes, mistakes: list[str]) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        mistakes.append(f"{place}: not UTF-8 (byte 0x{line[error.start]:02x}).")
        return ""


def _json_lines(path: Path, lines: list[bytes]) -> tuple[tuple[str, ...], list[Record]]:
    mistakes: list[str] = []
    records = []
    for number, line in enumerate(lines if lines != [b""] else [], start=1):
        place = f"{path}, line {number}"
        try:
            records.append(Record(place, parse_object(line)))
        except ValueError as error:
            mistakes.append(f"{place}: {error}")
    report(mistakes, hint="One JSON object a line.")
    return tuple(dict.fromkeys(key for record in records for key in record.fields)), records
