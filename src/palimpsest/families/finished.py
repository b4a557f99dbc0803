"""Finished traces and restorations of a run folder, read again, and their reports written anew."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from palimpsest.errors import UserError
from palimpsest.records import RESTORATION_FILE, TRACE_FILE, Restoration, RunFolder, Trace
from palimpsest.report import write_restoration, write_trace

Schema = TypeVar("Schema", bound=BaseModel)


def read_restoration(path: Path | str) -> Restoration:
    """Return what a run folder says of a restoration.

    Raises:
        UserError: There is none, or it has another schema.
    """
    return _read(RunFolder.find(path), RESTORATION_FILE, Restoration, "restore BASE TUNED")


def read_trace(path: Path | str) -> Trace:
    """Return what a run folder says of a training.

    Raises:
        UserError: There is none, or it has another schema.
    """
    return _read(RunFolder.find(path), TRACE_FILE, Trace, "trace BASE CHECKPOINTS")


def rewrite_family_reports(folder: RunFolder) -> list[Path]:
    """Write the pages of the trace and of the restoration in a folder anew, if it has them.

    Raises:
        UserError: One of them has another schema, or the folder cannot be written.
    """
    pages = []
    if (folder.path / TRACE_FILE).exists():
        pages.append(write_trace(folder.path, read_trace(folder.path)))
    if (folder.path / RESTORATION_FILE).exists():
        pages.append(write_restoration(folder.path, read_restoration(folder.path)))
    return pages


def _read(folder: RunFolder, name: str, schema: type[Schema], command: str) -> Schema:
    path = folder.path / name
    if not path.exists():
        raise UserError(
            f"The folder '{folder.path}' has no {name}.",
            hint=f"Run palimpsest {command} … first, or name its folder with --out.",
        )
    try:
        return schema.model_validate_json(folder.read_text(name))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"'{path}' does not follow the schema: {place}: {first['msg']}.",
            hint="Run its command again: the answers are kept, so it takes seconds.",
        ) from error
