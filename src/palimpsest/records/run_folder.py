"""The folder of one run: its marker, its files, none ever seen half written, and its lock."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from palimpsest.errors import UPGRADE, UserError
from palimpsest.files import TEMPORARY, read_bytes, write_whole
from palimpsest.records.failures import explained
from palimpsest.records.provenance import own_version

if TYPE_CHECKING:
    from palimpsest.records.answers import AnswerRow
    from palimpsest.records.results import Results
    from palimpsest.records.store import AnswerStore

_PATIENCE_SECONDS = 0.5  # for the lock of another process

SCHEMA = "palimpsest.run/1"
"""Marks a folder as ours, and versions ``run.json``."""


class RunFolder:
    """A folder that ``palimpsest`` made and may therefore write in.

    Get one with :meth:`create` or :meth:`find`. ``run.json`` is the marker and keeps the resolved
    configuration of the newest run. Open the answers (one writer at a time) before recording a
    configuration, so that a run that has to wait for another leaves no trace.

    Example:
        >>> import tempfile
        >>> folder = RunFolder.create(Path(tempfile.mkdtemp()) / "mine")
        >>> folder.record({"suite": "icl-vs-if"})
        >>> RunFolder.find(folder.path).config
        {'suite': 'icl-vs-if'}
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path | str) -> RunFolder:
        """Make the folder, or continue in one of ours.

        Raises:
            UserError: The path is a file, cannot be written, or is a folder with files in it
                that palimpsest did not make.
        """
        folder = cls(_checked(path))
        with explained(folder.path):
            if folder.path.exists() and not folder.path.is_dir():
                raise UserError(
                    f"'{folder.path}' is a file; a folder is needed.",
                    hint="Choose another folder with --out.",
                )
            folder.path.mkdir(parents=True, exist_ok=True)
            strangers = [p for p in folder.path.iterdir() if not p.name.endswith(TEMPORARY)]
            if strangers:
                folder._read_marker()
                folder._probe()
            else:
                folder.record({})
        return folder

    @classmethod
    def find(cls, path: Path | str) -> RunFolder:
        """Return the folder of an earlier run.

        Raises:
            UserError: There is no such folder, or palimpsest did not make it.
        """
        folder = cls(_checked(path))
        with explained(folder.path):
            if not folder.path.is_dir():
                raise UserError(
                    f"There is no folder '{folder.path}'.",
                    hint="Name a folder that 'palimpsest diagnose … --out DIR' has written.",
                )
            folder._read_marker()
        return folder

    @property
    def answers(self) -> Path:
        """The SQLite file of all answers."""
        return self.path / "answers.sqlite"

    @property
    def results(self) -> Path:
        """The results, as the schema in ``records/results.py`` says."""
        return self.path / "results.json"

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that was recorded last."""
        return cast("dict[str, Any]", self._read_marker()["config"])

    def record(self, config: Mapping[str, Any]) -> None:
        """Write the resolved configuration of the run that starts now into ``run.json``."""
        if self._marker.exists():
            self._sweep()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        created = self._read_marker()["created"] if self._marker.exists() else now
        marker = {
            "schema": SCHEMA,
            "version": own_version(),
            "created": created,
            "updated": now,
            "config": dict(config),
        }
        self.write_json(self._marker.name, marker)

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file atomically and return its path."""
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
        return self.write_text(name, text + "\n")

    def write_text(self, name: str, text: str) -> Path:
        r"""Write a UTF-8 file atomically and return its path; ``name`` may hold a subfolder.

        A lone surrogate has no UTF-8 form: it is written as ``\udxxx``, which JSON reads back.
        """
        return self.write_bytes(name, text.encode("utf-8", "backslashreplace"))

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write a file atomically and return its path: it is seen whole or not at all."""
        target = self.path / name
        with explained(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, content)
        return target

    def read_text(self, name: str) -> str:
        """Return the text of one of the folder's files.

        Raises:
            UserError: The file is missing or cannot be read.
        """
        path = self.path / name
        if not path.exists():
            raise UserError(
                f"There is no '{name}' in '{self.path}': that run did not finish.",
                hint="Run the command that made the folder again: it continues.",
            )
        try:
            return read_bytes(path).decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"'{path}' is not UTF-8 (byte 0x{error.object[error.start]:02x}).",
                hint="Run the command that made the folder again.",
            ) from None

    def finish(self, store: AnswerStore, results: Results, rows: Sequence[AnswerRow]) -> None:
        """Replace the figures and the answers of the run before; never leave some of either.

        Args:
            store: Has the rows already.
            results: What was found.
            rows: The answers behind it.
        """
        with explained(self.results):
            self.results.unlink(missing_ok=True)
        store.record_run(rows)
        self.write_text("results.json", results.to_json() + "\n")

    @property
    def _marker(self) -> Path:
        return self.path / "run.json"

    def _probe(self) -> None:
        """Fail now, and not after a model has been loaded, if nothing can be written."""
        probe = self.path / f".probe.{os.getpid()}{TEMPORARY}"
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what killed processes were about to write."""
        with explained(self.path):
            for rest in self.path.rglob(f".*{TEMPORARY}"):
                rest.unlink(missing_ok=True)

    def _read_marker(self) -> dict[str, Any]:
        try:
            marker = json.loads(read_bytes(self._marker))
            schema = str(marker["schema"])
        except (UserError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._foreign() from error
        if not schema.startswith("palimpsest.run/"):
            raise self._foreign()
        if schema != SCHEMA:
            raise UserError(
                f"'{self.path}' was written by palimpsest {marker.get('version')} ({schema}); "
                f"this version knows {SCHEMA}.",
                hint=UPGRADE,
            )
        return cast("dict[str, Any]", marker)

    def _foreign(self) -> UserError:
        return UserError(
            f"The folder '{self.path}' is not empty, and palimpsest did not make it "
            "(it has no run.json of ours).",
            hint="Choose an empty or a new folder with --out.",
        )


def _checked(path: Path | str) -> Path:
    if "\x00" in str(path):
        raise UserError(
            f"The folder name {str(path)!r} holds a NUL character.", hint="Leave it out."
        )
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # "~name" for somebody who does not exist
        raise UserError(
            f"The folder '{path}' cannot be found: {error}", hint="Write the path in full."
        ) from error


class WriterLock:
    """Keep other processes from writing to the same place while this object is open.

    The lock is SQLite's own write lock on a small file: the same code on every system, given up by
    the operating system when the process is killed, and not inherited by forked children. The
    file stays behind and means nothing by itself.

    Args:
        path: The lock file; its folder exists.

    Raises:
        UserError: Another process has the lock, or the place cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with explained(path):
            self._connection = sqlite3.connect(
                path, isolation_level=None, timeout=_PATIENCE_SECONDS
            )
            try:
                self._take()
            except BaseException:
                self._connection.close()
                raise

    def _take(self) -> None:
        begin, connection = "BEGIN IMMEDIATE", self._connection
        try:
            connection.execute(begin)
            connection.execute("CREATE TABLE IF NOT EXISTS holder (pid INTEGER, host TEXT)")
            connection.execute("DELETE FROM holder")
            connection.execute("INSERT INTO holder VALUES (?, ?)", (os.getpid(), platform.node()))
            connection.execute("COMMIT")
            # Others can read the committed name while this second transaction stays open.
            connection.execute(begin)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            raise UserError(
                f"The folder '{self._path.parent}' is in use by another palimpsest process"
                f"{self._holder()}.",
                hint="Wait until it has finished, or choose another folder with --out.",
            ) from error

    def _holder(self) -> str:
        try:
            found = self._connection.execute("SELECT pid, host FROM holder").fetchone()
        except sqlite3.Error:  # the other process is writing its name this very moment
            return ""
        return "" if found is None else f" (process {found[0]} on '{found[1]}')"

    def release(self) -> None:
        """Give the lock up; a second call does nothing."""
        self._connection.close()
