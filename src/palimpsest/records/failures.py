"""Failed reads and writes in the user's words: a full disk, no permission, a damaged file."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from palimpsest.errors import UserError

_CONTINUE = "run the same command again: it continues where it stopped."
_FULL = {errno.ENOSPC, errno.EDQUOT}
_NEARLY_FULL_BYTES = 1 << 20


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an operating-system or SQLite error about ``path`` into a :class:`UserError`.

    Errors that only a bug can cause (wrong SQL, a broken constraint) pass through unchanged.
    """
    try:
        yield
    except OSError as error:
        raise explain_os_error(path, error) from error
    except sqlite3.Error as error:
        explanation = explain_sqlite_error(path, error)
        if explanation is None:
            raise
        raise explanation from error


def explain_os_error(path: Path, error: OSError) -> UserError:
    """Return the message for an operating-system error about ``path``.

    Example:
        >>> print(explain_os_error(Path("runs/a"), OSError(errno.ENOSPC, "No space left")))
        The disk that holds 'runs/a' is full.
        Free some space and run the same command again: it continues where it stopped.
    """
    if error.errno in _FULL:
        return _disk_full(path)
    if error.errno == errno.EFBIG:
        return _size_limit(path)
    reason = os.strerror(error.errno) if error.errno else str(error)
    return UserError(
        f"'{path}' cannot be read or written: {reason}.",
        hint="Check the path and its permissions, or choose another folder with --out.",
    )


def explain_sqlite_error(path: Path, error: sqlite3.Error) -> UserError | None:
    """Return the message for an SQLite error about ``path``; ``None`` if only a bug causes it."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    match code & 0xFF:  # the extended result code without its detail
        case sqlite3.SQLITE_FULL:
            return _disk_full(path)
        case sqlite3.SQLITE_IOERR:
            return _disk_full(path) if _is_nearly_full(path) else _size_limit(path)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return UserError(
                f"'{path}' cannot be opened or written: {error}.",
                hint="Check the permissions of the folder, or choose another with --out.",
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return UserError(
                f"'{path}' is locked by another program.",
                hint=f"Close whatever has the file open, then {_CONTINUE}",
            )
        case sqlite3.SQLITE_PROTOCOL | sqlite3.SQLITE_NOLFS:
            return UserError(
                f"The disk that holds '{path}' does not support file locks ({error}).",
                hint="Choose a folder on a local disk with --out.",
            )
        case sqlite3.SQLITE_TOOBIG:
            return damaged(path, "an answer in it is longer than any that is read")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return damaged(path, str(error))
    return None


def damaged(path: Path, detail: str) -> UserError:
    """Return the message for an SQLite file that cannot be trusted any more."""
    return UserError(
        f"The file '{path}' is damaged: {detail}.",
        hint=(
            "Move it away, with the files beside it that start with its name, and run the same "
            "command again: every answer is asked for anew.\n"
            f"What is left of it may be read with: sqlite3 '{path}' .recover"
        ),
    )


def _disk_full(path: Path) -> UserError:
    return UserError(
        f"The disk that holds '{path}' is full.", hint=f"Free some space and {_CONTINUE}"
    )


def _size_limit(path: Path) -> UserError:
    return UserError(
        f"'{path}' could not be written: the disk failed, or the file reached the largest size "
        "that is allowed.",
        hint=f"Check the disk, its quota and 'ulimit -f', then {_CONTINUE}",
    )


def _is_nearly_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _NEARLY_FULL_BYTES
    except OSError:
        return False
