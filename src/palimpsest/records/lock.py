"""One writer at a time: a lock that ends with its process, however the process ends."""

from __future__ import annotations

import os
import platform
import sqlite3
from pathlib import Path

from palimpsest.errors import UserError
from palimpsest.records.failures import explained

_PATIENCE_SECONDS = 0.5


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
