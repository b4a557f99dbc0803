"""Tables that a user has: CSV, TSV, JSON lines, Parquet, Arrow, folders saved by ``datasets``."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from palimpsest.errors import MissingExtraError, UserError, raise_mistakes
from palimpsest.files import (
    check_file,
    csv_records,
    decoded,
    lines_of,
    parse_object,
    read_bytes,
    sha256_of,
    too_large,
    unreadable,
)

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

SUFFIXES = (".tsv", ".csv", ".jsonl", ".parquet", ".arrow")
"""The files that :func:`read_table` reads, besides folders saved by ``datasets``."""

MOST_BYTES = 512 * 2**20
"""The largest table, in bytes on disk or, if compressed, in memory."""

MOST_ROWS = 200_000
"""The longest table. All fifteen languages of XNLI's test split have 75,150 rows together."""

_N_AT_A_TIME = 16  # rows, each of which may have a very long text
_PACKED_TYPES = ("dictionary", "run_end_encoded")
_STATE = "state.json"  # what `Dataset.save_to_disk` leaves in a folder
_SMALLER = "Choose a smaller split, or cut out the rows that you need."
_QUOTED = "Quote fields as spreadsheets do: double quotes, doubled within."
_SAVE_AGAIN = "Save the dataset again with save_to_disk."


class SourceRow(NamedTuple):
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

    rows: tuple[SourceRow, ...]
    """In order, with the columns that were asked for."""

    sha256: str
    """Of the bytes of its files, in order."""


def is_saved_dataset(path: Path) -> bool:
    """Return whether a folder was written by ``Dataset.save_to_disk``."""
    return (path / _STATE).is_file()


def read_table(
    path: Path, columns: Collection[str], *, names: Sequence[str] | None = None
) -> Table:
    """Read some columns of a table, wherever it has them.

    Tables in text are UTF-8; a byte order mark, Windows line ends and empty lines at the end do
    not matter. Fields of a TSV file are taken as they stand: quotation marks mean themselves. Those
    of a CSV file are parted by commas or, if its first line has more of them, by semicolons.

    Args:
        path: A file with one of :data:`SUFFIXES`, or a folder saved by ``datasets``.
        columns: Those wanted; others are left out.
        names: What the columns of a CSV or TSV file are called whose first line is a row already.

    Raises:
        UserError: The table cannot be read, is malformed, or larger than :data:`MOST_BYTES` or
            :data:`MOST_ROWS`. The message names file and line.
        MissingExtraError: Parquet or Arrow without ``pyarrow``.
    """
    files = _saved_files(path) if path.is_dir() else (path,)
    checked_size(*files)
    is_text = path.suffix in {".tsv", ".csv", ".jsonl"} and not path.is_dir()
    found, rows = _text_table(path, names) if is_text else _arrow_tables(files, frozenset(columns))
    kept = tuple(
        SourceRow(place, {key: value for key, value in fields.items() if key in columns})
        for place, fields in rows
    )
    return Table(str(path), found, kept, sha256_of(*files))


def checked_size(*paths: Path) -> None:
    """Raise :class:`UserError` for missing files, or more than :data:`MOST_BYTES` together."""
    try:
        n_bytes = sum(path.stat().st_size for path in paths)
    except OSError as error:
        raise unreadable(paths[0], error) from error
    for path in paths:
        check_file(path)
    _check_bytes(paths[0], n_bytes)


def saved_facts(path: Path, pick: Callable[[Any], T]) -> T:
    """Return what is picked from a JSON file that ``datasets`` wrote into a folder.

    Raises:
        UserError: The file cannot be read, or does not have it.
    """
    try:
        return pick(json.loads(read_bytes(path)))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise UserError(
            f"{path} is not what 'datasets' writes into a folder.", hint=_SAVE_AGAIN
        ) from None


def _check_bytes(path: Path, n_bytes: int) -> None:
    if n_bytes > MOST_BYTES:
        raise too_large(path, n_bytes, MOST_BYTES, hint=_SMALLER)


def _check_rows(path: Path, n_rows: int) -> None:
    if n_rows > MOST_ROWS:
        raise UserError(
            f"{path} has {n_rows:,} rows; at most {MOST_ROWS:,} are read.", hint=_SMALLER
        )


def _text_table(path: Path, names: Sequence[str] | None) -> tuple[tuple[str, ...], list[SourceRow]]:
    if path.suffix == ".csv":
        return _delimited(path, _csv_fields(path), names)
    lines = lines_of(read_bytes(path, most_bytes=MOST_BYTES).rstrip())
    _check_rows(path, len(lines) - (path.suffix == ".tsv" and names is None))
    if path.suffix == ".jsonl":
        return _json_lines(path, lines)
    texts = _parsed(path, lines, decoded, hint="Save the file as UTF-8.")
    fields = [(place, text.removesuffix("\r").split("\t")) for place, text in texts]
    return _delimited(path, fields, names)


def _csv_fields(path: Path) -> list[tuple[str, list[str]]]:
    fields: list[tuple[str, list[str]]] = []
    for n_line, found in csv_records(path, delimiters=",;", hint=_QUOTED):
        fields.append((f"{path}, line {n_line}", found or [""]))
        if len(fields) > MOST_ROWS + 1:
            _check_rows(path, len(fields))
    while fields and fields[-1][1] == [""]:
        fields.pop()
    return fields


def _parsed(
    path: Path, lines: Sequence[bytes], parse: Callable[[bytes], T], *, hint: str
) -> list[tuple[str, T]]:
    """Return the places and values of all lines.

    Raises:
        UserError: Some cannot be parsed.
    """
    mistakes: list[str] = []
    found: list[tuple[str, T]] = []
    for number, line in enumerate(lines, start=1):
        place = f"{path}, line {number}"
        try:
            found.append((place, parse(line)))
        except ValueError as error:
            mistakes.append(f"{place}: {error}")
    raise_mistakes(mistakes, hint=hint)
    return found


def _delimited(
    path: Path, fields: Sequence[tuple[str, list[str]]], names: Sequence[str] | None
) -> tuple[tuple[str, ...], list[SourceRow]]:
    """Return rows by columns, which the first line names unless they are given."""
    columns = tuple(names or (fields[0][1] if fields else ()))
    namer = "names" if names is None else "there are names for"
    mistakes = [
        f"{place}: {'empty' if found == [''] else f'{len(found)} fields'}, but "
        f"{'the first line ' if names is None else ''}{namer} {len(columns)}."
        for place, found in fields
        if len(found) != len(columns)
    ]
    if len(set(columns)) < len(columns):
        mistakes.insert(0, f"{path}, line 1: a column comes twice: {', '.join(columns)}.")
    raise_mistakes(mistakes, hint="One row a line, with a field for each column.")
    return columns, [
        SourceRow(place, dict(zip(columns, found, strict=True)))
        for place, found in fields[names is None :]
    ]


def _json_lines(path: Path, lines: list[bytes]) -> tuple[tuple[str, ...], list[SourceRow]]:
    some = lines if lines != [b""] else []
    rows = [
        SourceRow(*each)
        for each in _parsed(path, some, parse_object, hint="One JSON object a line.")
    ]
    return tuple(dict.fromkeys(key for row in rows for key in row.fields)), rows


def _arrow_tables(
    files: Sequence[Path], wanted: Collection[str]
) -> tuple[tuple[str, ...], list[SourceRow]]:
    """Read some columns of Parquet or Arrow files with pyarrow alone, one behind the other."""
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingExtraError(
            "Parquet files and datasets saved to disk", package="pyarrow", extra="parquet"
        ) from None
    names: dict[str, None] = {}
    rows: list[SourceRow] = []
    for file in files:
        read = _parquet if file.suffix == ".parquet" else _arrow
        try:
            found, table = read(file, wanted, n_before=len(rows))
        except (pa.ArrowException, OSError) as error:
            kind = "Parquet" if file.suffix == ".parquet" else "Arrow"
            said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
            raise UserError(
                f"{file} cannot be read as {kind}: {said}.",
                hint="Check that it was copied or downloaded completely.",
            ) from error
        names |= dict.fromkeys(found)
        rows += _arrow_rows(file, table)
    return tuple(names), rows


def _parquet(path: Path, wanted: Collection[str], n_before: int) -> tuple[list[str], pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        about = file.metadata
        _check_rows(path, n_before + about.num_rows)
        n_bytes = sum(
            chunk.total_uncompressed_size
            for group in map(about.row_group, range(about.num_row_groups))
            for chunk in map(group.column, range(group.num_columns))
            if chunk.path_in_schema.split(".")[0] in wanted
        )
        _check_bytes(path, n_bytes)
        names = list(file.schema_arrow.names)
        kept = [name for name in names if name in wanted]
        batches = file.iter_batches(batch_size=_N_AT_A_TIME, columns=kept)
        schema = pa.schema([file.schema_arrow.field(name) for name in kept])
        return names, _dense_table(path, batches, schema)


def _arrow(path: Path, wanted: Collection[str], n_before: int) -> tuple[list[str], pa.Table]:
    import pyarrow as pa

    # `datasets` writes the stream format, so batches come one by one and can be counted.
    batches, n_rows, n_bytes = [], n_before, 0
    with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
        names = list(stream.schema.names)
        kept = [name for name in names if name in wanted]
        for batch in stream:
            n_rows, n_bytes = n_rows + batch.num_rows, n_bytes + batch.nbytes
            _check_rows(path, n_rows)
            _check_bytes(path, n_bytes)
            batches.append(batch.select(kept))
        schema = pa.schema([stream.schema.field(name) for name in kept])
        return names, _dense_table(path, batches, schema)


def _dense_table(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Return a table in which every row has its own text, counted as it is unpacked.

    A column may name one long text by its number in every row.
    """
    import pyarrow as pa

    packed = {field.name for field in schema if pa.types.is_dictionary(field.type)}
    for field in schema:
        if field.name not in packed and any(kind in str(field.type) for kind in _PACKED_TYPES):
            raise UserError(
                f"{path}: the column '{field.name}' is of the type {field.type}; it is not read.",
                hint="Write its values as they are.",
            )
    pieces, n_bytes = [], 0
    for batch in batches:
        n_rows = _N_AT_A_TIME if packed else max(1, batch.num_rows)
        for start in range(0, batch.num_rows, n_rows):
            piece = batch.slice(start, n_rows)
            columns = [
                column.dictionary_decode() if name in packed else column
                for name, column in zip(schema.names, piece.columns, strict=True)
            ]
            n_bytes += sum(column.nbytes for column in columns)
            _check_bytes(path, n_bytes)
            pieces.append(pa.RecordBatch.from_arrays(columns, names=schema.names))
    return pa.Table.from_batches(pieces) if pieces else schema.empty_table()


def _arrow_rows(path: Path, table: pa.Table) -> list[SourceRow]:
    try:
        values = table.to_pylist()
    except UnicodeDecodeError:
        bad = [i for i in range(table.num_rows) if not _is_text(table.slice(i, 1))]
        raise_mistakes(
            [f"{path}, row {i + 1}: not UTF-8." for i in bad], hint="Write the file again."
        )
        raise
    return [SourceRow(f"{path}, row {number}", fields) for number, fields in enumerate(values, 1)]


def _is_text(row: pa.Table) -> bool:
    try:
        row.to_pylist()
    except UnicodeDecodeError:
        return False
    return True


def _saved_files(folder: Path) -> tuple[Path, ...]:
    """Return the Arrow files of a folder that ``Dataset.save_to_disk`` wrote."""
    path = folder / _STATE
    names, mapped = saved_facts(
        path,
        lambda state: (
            [str(each["filename"]) for each in state["_data_files"]],
            state.get("_indices_data_files") or state.get("_indices_files"),
        ),
    )
    outside = [name for name in names if Path(name).name != name or not name.strip(".")]
    if outside:
        raise UserError(
            f"{path} names a file that is not in its folder: {outside[0]!r}.", hint=_SAVE_AGAIN
        )
    if mapped:
        raise UserError(
            f"{folder} was saved with an index of its rows, as old releases of 'datasets' did.",
            hint="Load it and save it again with flatten_indices().save_to_disk(…).",
        )
    return tuple(folder / name for name in names)
