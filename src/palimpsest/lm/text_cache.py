"""Texts that were made before, such as translations, in one SQLite file for all runs of a user."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock

CACHE_VARIABLE = "PALIMPSEST_CACHE"
"""The environment variable that names another folder, or ``off``."""

_N_LOOKED_UP = 500
_BUSY_SECONDS = 10.0
_MOST_BYTES = 2**24  # of one text


def cache_folder() -> Path | None:
    """Return where is kept what can be made again; nothing if the user wants nothing kept."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen).expanduser()
    root = os.environ.get("XDG_CACHE_HOME")
    base = Path(root) if root and Path(root).is_absolute() else Path("~/.cache").expanduser()
    return base / "palimpsest"


def cache_path(kind: str) -> Path | None:
    """Return where texts of a kind are kept; nothing if the user wants none kept."""
    folder = cache_folder()
    return None if folder is None else folder / f"{kind}.sqlite"


class TextCache:
    """Texts by what they were made of and by whom; safe across threads and processes.

    A file that cannot be opened, read or written costs time but no run: the cache is then empty,
    and :meth:`notes` says why. It can be deleted at any time.

    Args:
        path: The file; ``None`` for a cache that keeps nothing.
        kind: What it keeps, in words.
    """

    def __init__(self, path: Path | None, kind: str = "translations") -> None:
        self.path = path
        self.kind = kind
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._note: str | None = None

    def notes(self) -> tuple[str, ...]:
        """Return why nothing is kept, if that was not asked for."""
        return () if self._note is None else (self._note,)

    def get(self, keys: Iterable[bytes]) -> dict[bytes, str]:
        """Return what is known of the keys."""
        wanted = list(keys)
        found: dict[bytes, str] = {}
        with self._lock:
            try:
                connection = self._open()
                for start in range(0, len(wanted) if connection else 0, _N_LOOKED_UP):
                    some = wanted[start : start + _N_LOOKED_UP]
                    marks = ",".join("?" * len(some))
                    query = f"SELECT key, text FROM translations WHERE key IN ({marks})"
                    assert connection is not None
                    rows = connection.execute(query, some)
                    found.update((bytes(key), text) for key, text in rows if isinstance(text, str))
            except (sqlite3.Error, OSError, UnicodeError) as error:
                self._give_up(error)
        return found

    def put(self, texts: Mapping[bytes, str]) -> None:
        """Keep texts."""
        with self._lock:
            try:
                connection = self._open() if texts else None
                if connection is not None:
                    with connection:
                        connection.executemany(
                            "INSERT OR REPLACE INTO translations VALUES (?, ?)",
                            list(texts.items()),
                        )
            except UnicodeError:  # half a surrogate pair: not worth keeping
                pass
            except (sqlite3.Error, OSError) as error:
                self._give_up(error)

    def close(self) -> None:
        """Close the file; it opens again when it is needed."""
        with self._lock:
            self._close()

    def _open(self) -> sqlite3.Connection | None:
        """Return the connection of this process, made now if need be."""
        if self.path is None or self._note is not None:
            return None
        if self._pid != os.getpid():  # a connection must not be carried over a fork
            self._connection, self._pid = None, os.getpid()
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():  # prompts are nobody else's business
                self.path.touch(mode=0o600)
            connection = sqlite3.connect(
                self.path, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None
            )
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
            self._connection = connection
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS translations "
                "(key BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID"
            )
        return self._connection

    def _give_up(self, error: Exception) -> None:
        self._close()
        self._note = (
            f"The cache of {self.kind} '{self.path}' cannot be used ({error}); nothing is kept. "
            f"Delete the file, or name another folder in {CACHE_VARIABLE}."
        )

    def _close(self) -> None:
        if self._connection is not None and self._pid == os.getpid():
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None


def cache_key(*parts: str) -> bytes:
    """Return the key of a text by all that it depends on."""
    text = "\0".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
