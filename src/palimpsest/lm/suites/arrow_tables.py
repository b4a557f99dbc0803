"""Tables in Parquet, in Arrow, and in folders saved by ``datasets``, read with pyarrow alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.lm.suites import tables
from palimpsest.lm.suites.rows import report
from palimpsest.lm.suites.tables import STATE, Record, Table

if TYPE_CHECKING:
    import pyarrow as pa


def read(path: Path, columns: Collection[str]) -> Table:
    """Read some columns of a Parquet or Arrow file, or of a folder saved by ``datasets``.

    Raises:
        UserError: As :func:`palimpsest.lm.suites.tables.read_table`.
        MissingExtraError: pyarrow is not installed.
    """
    if not path.is_dir():
        return _table(path, (path,), columns)
    return _table(path, _saved_files(path), columns)


def _table(path: Path, files: Sequence[Path], columns: Collection[str]) -> Table:
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingExtraError(
            "Parquet files and datasets saved to disk", package="pyarrow", extra="parquet"
        ) from None
    tables.checked_size(*files)
    names: dict[str, None] = {}
    records: list[Record] = []
    for file in files:
        try:
            read = _parquet if file.suffix == ".parquet" else _arrow
            found, rows = read(file, frozenset(columns), n_before=len(records))
        except (pa.ArrowException, OSError) as error:
            raise _damaged(file, error) from error
        names |= dict.fromkeys(found)
        records += _records(file, rows)
    return Table(str(path), tuple(names), tuple(records), _sha256(files))


def _damaged(path: Path, error: Exception) -> UserError:
    kind = "Parquet" if path.suffix == ".parquet" else "Arrow"
    said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
    return UserError(
        f"{path} cannot be read as {kind}: {said}.",
        hint="Check that it was copied or downloaded completely.",
    )


def _parquet(path: Path, wanted: Collection[str], n_before: int) -> tuple[list[str], pa.Table]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        about = file.metadata
        if n_before + about.num_rows > tables.MOST_ROWS:
            raise tables.too_long(path, n_before + about.num_rows)
        n_bytes = sum(
            chunk.total_uncompressed_size
            for group in map(about.row_group, range(about.num_row_groups))
            for chunk in map(group.column, range(group.num_columns))
            if chunk.path_in_schema.split(".")[0] in wanted
        )
        if n_bytes > tables.MOST_BYTES:
            raise tables.too_large(path, n_bytes)
        names = list(file.schema_arrow.names)
        return names, file.read(columns=[name for name in names if name in wanted])


def _arrow(path: Path, wanted: Collection[str], n_before: int) -> tuple[list[str], pa.Table]:
    import pyarrow as pa

    # `datasets` writes the stream format, so batches come one by one and can be counted.
    batches, n_rows, n_bytes = [], n_before, 0
    with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
        names = list(stream.schema.names)
        kept = [name for name in names if name in wanted]
        for batch in stream:
            n_rows, n_bytes = n_rows + batch.num_rows, n_bytes + batch.nbytes
            if n_rows > tables.MOST_ROWS:
                raise tables.too_long(path, n_rows)
            if n_bytes > tables.MOST_BYTES:
                raise tables.too_large(path, n_bytes)
            batches.append(batch.select(kept))
        schema = pa.schema([stream.schema.field(name) for name in kept])
    return names, pa.Table.from_batches(batches, schema)


def _records(path: Path, rows: pa.Table) -> list[Record]:
    try:
        values = rows.to_pylist()
    except UnicodeDecodeError:
        bad = [i for i in range(rows.num_rows) if not _is_text(rows.slice(i, 1))]
        report([f"{path}, row {i + 1}: not UTF-8." for i in bad], hint="Write the file again.")
        raise
    return [Record(f"{path}, row {number}", fields) for number, fields in enumerate(values, 1)]


def _is_text(row: pa.Table) -> bool:
    try:
        row.to_pylist()
    except UnicodeDecodeError:
        return False
    return True


def _saved_files(folder: Path) -> tuple[Path, ...]:
    """Return the Arrow files of a folder that ``Dataset.save_to_disk`` wrote."""
    path = folder / STATE
    tables.checked_size(path)
    try:
        state: Any = json.loads(path.read_bytes())
        names = [str(each["filename"]) for each in state["_data_files"]]
        mapped = state.get("_indices_data_files") or state.get("_indices_files")
    except OSError as error:
        raise tables.unreadable(path, error) from error
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise UserError(
            f"{path} is not what 'datasets' writes into a folder.",
            hint="Save the dataset again with save_to_disk.",
        ) from None
    outside = [name for name in names if Path(name).name != name or not name.strip(".")]
    if outside:
        raise UserError(
            f"{path} names a file that is not in its folder: {outside[0]!r}.",
            hint="Save the dataset again with save_to_disk.",
        )
    if mapped:
        raise UserError(
            f"{folder} was saved with an index of its rows, as old releases of 'datasets' did.",
            hint="Load it and save it again with flatten_indices().save_to_disk(…).",
        )
    return tuple(folder / name for name in names)


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()
