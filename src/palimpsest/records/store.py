"""Every answer of a run, in one SQLite file that survives being killed at any moment."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, Self, cast, get_type_hints

import numpy as np

from palimpsest.errors import UPGRADE, UserError
from palimpsest.files import MOST_LINE_BYTES
from palimpsest.records.answers import AnswerKey, AnswerRow, Outcome
from palimpsest.records.failures import damaged, explained
from palimpsest.records.run_folder import WriterLock
from palimpsest.records.stored_answers import Places, StoredAnswers

FORMAT_VERSION = 4
"""The layout of the tables, kept in SQLite's ``user_version``."""

OLDEST_READ = 3
"""The oldest format that is read as it is; older ones are brought up to date by writing."""

_APPLICATION_ID = 0x50414C49  # "PALI": tells our files from other programs' databases
_PATIENCE_SECONDS = 5.0  # how long to wait for a program that has the file locked for a moment
_CACHE_KIB = 32 * 1024  # pages of the file that SQLite keeps in memory while it writes
_N_LISTED = 2000  # places or sources that one statement lists

_TYPES = {
    str: "TEXT NOT NULL",
    int: "INTEGER NOT NULL",
    float: "REAL NOT NULL",
    bool | None: "INTEGER",
    int | None: "INTEGER",
    float | None: "REAL",
    Outcome: "TEXT NOT NULL",
}
_COLUMNS = {
    name: _TYPES[kind]
    for row in (AnswerKey, AnswerRow)
    for name, kind in get_type_hints(row).items()
    if name != "key"
}
_N_KEY = len(AnswerKey._fields)
_TEXT_AT = [at for at, kind in enumerate(_COLUMNS.values()) if kind.startswith("TEXT")]
_texts_of = itemgetter(*_TEXT_AT)
_KEY = ", ".join(AnswerKey._fields)
_KEY_COLUMNS = ", ".join(f"{name} {_COLUMNS[name]}" for name in AnswerKey._fields)
_CREATE = (
    f"CREATE TABLE answers ({', '.join(map(' '.join, _COLUMNS.items()))}, PRIMARY KEY ({_KEY}))"
)
_CREATE_RUN = f"CREATE TABLE run (position INTEGER PRIMARY KEY, {_KEY_COLUMNS}, role TEXT NOT NULL)"
# What each format lacked. The rows of format 1 answer under other settings, so none of them is used
# again; they stay for whoever reads the file.
_UPGRADES = {
    1: (
        "ALTER TABLE answers ADD COLUMN fidelity REAL",
        "ALTER TABLE answers ADD COLUMN survival REAL",
        "ALTER TABLE answers ADD COLUMN flags TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE answers ADD COLUMN n_prompt_tokens INTEGER",
        "ALTER TABLE answers ADD COLUMN n_answer_tokens INTEGER NOT NULL DEFAULT 0",
    ),
    2: ("ALTER TABLE answers ADD COLUMN score REAL",),
    3: ("ALTER TABLE answers ADD COLUMN scoring TEXT NOT NULL DEFAULT ''",),
}
_YOUNG = {"scoring": "''"}
"""Columns that the oldest format which is read has not, and what stands for them."""
_INSERT = (
    f"INSERT INTO answers ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "
    f"ON CONFLICT ({_KEY}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in AnswerRow._fields[1:])
)
_SELECT = (
    "SELECT {columns} FROM answers "
    "WHERE model = ? AND suite = ? AND substr(settings, 1, length(?)) = ? ORDER BY rowid"
)
_INSERT_RUN = f"INSERT INTO run ({_KEY}, role) VALUES ({', '.join('?' * (_N_KEY + 1))})"
_CREATE_REQUESTS = (
    "CREATE TABLE IF NOT EXISTS requests (request BLOB PRIMARY KEY, place INTEGER NOT NULL) "
    "WITHOUT ROWID"
)
_CHOOSE = "CREATE TEMP TABLE chosen (position INTEGER PRIMARY KEY, place INTEGER, role TEXT)"
_INSERT_CHOSEN = (
    f"INSERT INTO run (position, {_KEY}, role) SELECT position, {_KEY}, chosen.role FROM chosen "
    "JOIN answers ON answers.rowid = place ORDER BY position"
)


class AnswerStore:
    """The answers of a run, one row for each :class:`AnswerKey`.

    Each call of :meth:`add` is one transaction of the write-ahead log, which needs no disk flush
    (some tens of microseconds): a killed process loses only answers that it had not yet handed
    over. A power cut may cost the newest transactions, but never leaves a damaged file.

    Args:
        path: The SQLite file; it is created if it is missing, its folder is not.
        read_only: Only read, also while another process is writing and on a read-only disk.

    Raises:
        UserError: The place cannot be written, the file is damaged, from another program or from
            a newer palimpsest, or another process is writing to it. Every method raises it when
            the disk is full or fails.

    Example:
        >>> import tempfile
        >>> with AnswerStore(Path(tempfile.mkdtemp()) / "answers.sqlite") as store:
        ...     len(store)
        0
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._lock = None if read_only else WriterLock(path.with_suffix(".lock"))
        try:
            with explained(path):
                self._connection = _open_for_reading(path) if read_only else _open_for_writing(path)
        except BaseException:
            self._release()
            raise

    def add(self, rows: Iterable[AnswerRow]) -> None:
        """Write all rows or none; a row with the same key as an older one takes its place."""
        records = [_to_record(row) for row in rows]
        with explained(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_INSERT, records)

    def rows(self, *, model: str, suite: str, settings: str = "") -> list[AnswerRow]:
        """Return the rows of one model on one suite, in the order in which they were written.

        Args:
            model: Fingerprint of the model.
            suite: Key of the suite.
            settings: Only rows whose settings fingerprint starts with this.
        """
        with explained(self.path):
            wanted = (_to_sql(model), _to_sql(suite), settings, settings)
            found = self._connection.execute(self._select(_SELECT, _COLUMNS), wanted).fetchall()
        return list(map(AnswerRow.of, zip(*_columns(found, _COLUMNS), strict=True)))

    def keyed(
        self, *, model: str, suite: str, sources: Sequence[str]
    ) -> Iterator[tuple[int, AnswerRow]]:
        """Yield the answers of one model to some source examples, each with its place.

        Args:
            model: Fingerprint of the model.
            suite: Key of the suite.
            sources: Names of the examples; some thousands at most.
        """
        for places, *columns in self._of_sources(model, suite, sources, _COLUMNS):
            yield from zip(places, map(AnswerRow.of, zip(*columns, strict=True)), strict=True)

    def places(self, *, model: str, suite: str, sources: Sequence[str]) -> dict[AnswerKey, int]:
        """Return where the answers of one model to some source examples are; as :meth:`keyed`.

        An answer stays at its place, also when another with the same key replaces it.
        """
        found: dict[AnswerKey, int] = {}
        for places, *columns in self._of_sources(model, suite, sources, AnswerKey._fields):
            found.update(zip(map(AnswerKey._make, zip(*columns, strict=True)), places, strict=True))
        return found

    def _of_sources(
        self, model: str, suite: str, sources: Sequence[str], columns: Collection[str]
    ) -> Iterator[list[Sequence[Any]]]:
        """Yield a list of places, and one for each column, of many answers at a time."""
        for first in range(0, len(sources), _N_LISTED):
            listed = [_to_sql(source) for source in sources[first : first + _N_LISTED]]
            marks = ", ".join("?" * len(listed))
            statement = (
                "SELECT answers.rowid, {columns} FROM answers "
                f"WHERE model = ? AND suite = ? AND source_id IN ({marks})"
            )
            wanted = (_to_sql(model), _to_sql(suite), *listed)
            with explained(self.path):
                found = self._connection.execute(self._select(statement, columns), wanted)
                yield _columns(found.fetchall(), ("rowid", *columns))

    def note_requests(self, noted: Iterable[tuple[bytes, int]]) -> None:
        """Note by what requests answers came.

        Args:
            noted: A hash of all that decided what the model said, and the place of the answer.
        """
        with explained(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR IGNORE INTO requests VALUES (?, ?)", noted)

    def requested(self, requests: Sequence[bytes]) -> dict[bytes, AnswerRow]:
        """Return the answers to those of the requests that have one."""
        places: dict[bytes, int] = {}
        for first in range(0, len(requests), _N_LISTED):
            mine = requests[first : first + _N_LISTED]
            marks = ", ".join("?" * len(mine))
            statement = f"SELECT request, place FROM requests WHERE request IN ({marks})"
            with explained(self.path):
                places.update(self._connection.execute(statement, mine))
        found = self.values_at(list(places.values()))
        return {
            request: AnswerRow.of(values)
            for request, values in zip(places, found, strict=True)
            if values is not None
        }

    def record_run(self, rows: Iterable[AnswerRow]) -> None:
        """Record which stored answers, of perhaps many more, make up the newest finished run."""
        with explained(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM run")
            if isinstance(rows, StoredAnswers) and rows.are_in(self):
                self._record_places(rows)
            else:
                keys = (tuple(map(_to_sql, (*row.key, row.role))) for row in rows)
                self._connection.executemany(_INSERT_RUN, keys)

    def _record_places(self, rows: StoredAnswers) -> None:
        self._connection.execute("DROP TABLE IF EXISTS temp.chosen")
        self._connection.execute(_CHOOSE)
        self._connection.executemany(
            "INSERT INTO chosen (place, role) VALUES (?, ?)", rows.places_and_roles()
        )
        self._connection.execute(_INSERT_CHOSEN)
        self._connection.execute("DROP TABLE temp.chosen")

    def run_rows(self) -> list[AnswerRow]:
        """Return the answers of the newest finished run, in its order and with its roles."""
        return list(self.run_answers())

    def run_answers(self) -> StoredAnswers:
        """Return the same to be read a few at a time, while the store is open."""
        return self._in_roles(
            f"SELECT answers.rowid, run.role FROM run JOIN answers USING ({_KEY}) ORDER BY position"
        )

    def newest_answers(self) -> StoredAnswers:
        """Return those of the newest finished run; all, as they were written, if none has finished.

        What role an answer has only a run says: a model that is compared with itself has each
        answer once, in two roles, and beside it is the role in which it was written last.
        """
        found = self.run_answers()
        return found or self._in_roles("SELECT rowid, role FROM answers ORDER BY rowid")

    def _in_roles(self, statement: str) -> StoredAnswers:
        """Return the answers whose places and roles a statement selects."""
        codes: dict[str, int] = {}
        places, roles = array("q"), array("B")
        with explained(self.path):
            for place, role in self._connection.execute(statement):
                places.append(place)
                roles.append(codes.setdefault(_from_sql(role), len(codes)))
        return StoredAnswers(self, np.array(places), np.array(roles), tuple(codes))

    def answers_at(self, places: Places, role: str) -> StoredAnswers:
        """Return the answers at some places, as those of a role, to be read a few at a time."""
        return StoredAnswers(self, places, np.zeros(len(places), np.uint8), (role,))

    def at(self, places: Sequence[int]) -> list[AnswerRow]:
        """Return the answers at some places, in that order; none where nothing is."""
        found = self.values_at(places)
        return [AnswerRow.of(values) for values in found if values is not None]

    def values_at(
        self, places: Sequence[int], columns: Iterable[str] = ()
    ) -> Iterator[Sequence[Any] | None]:
        """Yield some columns of the answers at some places, in that order; all if none is named.

        Where nothing is, it yields ``None``.
        """
        columns = list(columns) or list(_COLUMNS)
        for first in range(0, len(places), _N_LISTED):
            mine = places[first : first + _N_LISTED]
            there, *found = self._at(mine, columns)
            yield from map(dict(zip(there, zip(*found, strict=True), strict=True)).get, mine)

    def columns_at(self, places: Places, columns: Sequence[str]) -> list[Sequence[Any]]:
        """Return a list for each of some columns of the answers at places, all of which have one.

        Args:
            places: Some thousands at most; the lists are in their order.
            columns: Their names.
        """
        ordered, order = np.unique(places, return_inverse=True)
        there, *found = self._at(ordered.tolist(), columns)
        assert len(there) == len(ordered), "an answer was removed while it was read"
        if len(order) < 2 or (np.diff(order) == 1).all():
            return found
        taken = itemgetter(*order.tolist())
        return [taken(column) for column in found]

    def _at(self, places: Sequence[int], columns: Collection[str]) -> list[Sequence[Any]]:
        """Return the places where something is, in order, and a list for each column of it."""
        listed = ", ".join(map(str, places))
        statement = (
            f"SELECT answers.rowid, {{columns}} FROM answers WHERE rowid IN ({listed}) "
            "ORDER BY answers.rowid"
        )
        with explained(self.path):
            found = self._connection.execute(self._select(statement, columns)).fetchall()
        return _columns(found, ("rowid", *columns))

    def containing(self, text: str, places: Sequence[int]) -> list[int]:
        """Return those places whose prompt or answer has a text; ASCII letters in either case."""
        listed = ", ".join(map(str, places))
        statement = (
            "SELECT rowid FROM answers WHERE instr(lower(prompt || char(10) || raw || char(10) || "
            f"answer), lower(?)) > 0 AND rowid IN ({listed})"
        )
        with explained(self.path):
            found = {place for (place,) in self._connection.execute(statement, (text,))}
        return [place for place in places if place in found]

    def _select(self, statement: str, columns: Iterable[str]) -> str:
        """Return a statement that gives all columns, also of a file that lacks the young ones."""
        present = self._present
        listed = (
            f"{_YOUNG[name]} AS {name}" if name in _YOUNG and name not in present else name
            for name in columns
        )
        return statement.format(columns=", ".join(listed))

    @cached_property
    def _present(self) -> set[str]:
        """The columns that the file has."""
        found = self._connection.execute("PRAGMA table_info(answers)")
        return {name for _, name, *_ in found}

    def __len__(self) -> int:
        with explained(self.path):
            return cast(int, self._connection.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Fold the log into the file and let other processes write; may be called twice."""
        self._connection.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_for_writing(path: Path) -> sqlite3.Connection:
    # SQLite itself lets one thread at a time write; who writes may be another than who opened it.
    connection = sqlite3.connect(
        path, isolation_level=None, timeout=_PATIENCE_SECONDS, check_same_thread=False
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_LINE_BYTES)
    try:
        version = _check_format(path, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if version == 0:
            _create(connection)
        elif version < FORMAT_VERSION:
            _upgrade(connection, version)
        connection.execute(_CREATE_REQUESTS)
        _check_integrity(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_for_reading(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise UserError(
            f"There are no answers at '{path}'.",
            hint="Name a folder that 'palimpsest diagnose … --out DIR' has written.",
        )
    uri = path.absolute().as_uri() + "?mode=ro"
    try:
        return _connected(path, uri)
    except sqlite3.OperationalError:
        # Reading needs an index file beside a log in use. On a read-only disk that file cannot be
        # made, and is not missed unless a log was left behind.
        if path.with_name(path.name + "-wal").exists():
            raise
        return _connected(path, uri + "&immutable=1")


def _connected(path: Path, uri: str) -> sqlite3.Connection:
    # SQLite itself lets one thread at a time read; who reads may be another than who opened it.
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, timeout=_PATIENCE_SECONDS, check_same_thread=False
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_LINE_BYTES)
    try:
        version = _check_format(path, connection)
        if version == 0:
            raise _foreign(path)
        if version < OLDEST_READ:
            raise UserError(
                f"'{path}' was written by an older palimpsest, in format {version}.",
                hint="Run the diagnosis again: it brings the file up to date.",
            )
        _check_integrity(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _create(connection: sqlite3.Connection) -> None:
    # One transaction: a process that is killed here leaves an empty file, or a complete one.
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_CREATE)
        connection.execute(_CREATE_RUN)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for lacking in range(version, FORMAT_VERSION):
            for statement in _UPGRADES[lacking]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")


def _check_format(path: Path, connection: sqlite3.Connection) -> int:
    """Return the version of the file's format, 0 if it is still empty."""
    (n_tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if n_tables == 0 and application_id == 0 and version == 0:
        return 0
    if application_id != _APPLICATION_ID:
        raise _foreign(path)
    if version > FORMAT_VERSION:
        raise UserError(
            f"'{path}' was written by a newer palimpsest: its format is {version}, and this "
            f"version reads formats up to {FORMAT_VERSION}.",
            hint=UPGRADE,
        )
    return cast(int, version)


def _check_integrity(path: Path, connection: sqlite3.Connection) -> None:
    (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise damaged(path, " ".join(finding.split()))


def _foreign(path: Path) -> UserError:
    return UserError(
        f"'{path}' is an SQLite file, but not one that palimpsest wrote.",
        hint="Choose another folder with --out, or move the file away.",
    )


def _to_record(row: AnswerRow) -> tuple[Any, ...]:
    record = (*row[0], *row[1:])
    together = "".join(_texts_of(record))
    if "\x00" not in together and (together.isascii() or _has_utf8(together)):
        return record
    return tuple(_to_sql(value) if isinstance(value, str) else value for value in record)


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _columns(records: Sequence[Any], names: Collection[str]) -> list[Sequence[Any]]:
    """Return a list for each column of what was read."""
    if not records:
        return [()] * len(names)
    return list(map(_column, names, zip(*records, strict=True)))


def _column(name: str, values: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a column as they were stored."""
    if name == "round_trip":
        return [None if value is None else bool(value) for value in values]
    if bytes in set(map(type, values)):
        return [_from_sql(value) for value in values]
    return values


def _to_sql(text: str) -> str | bytes:
    r"""Keep ordinary text as TEXT, and as a BLOB what TEXT would cut (NUL) or refuse (surrogates).

    Example:
        >>> _to_sql("déjà"), _to_sql("a\x00b"), _to_sql("\ud800")
        ('déjà', b'a\x00b', b'\xed\xa0\x80')
    """
    if "\x00" not in text and (text.isascii() or _has_utf8(text)):
        return text
    return text.encode("utf-8", "surrogatepass")


def _from_sql(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogatepass")
    return cast(str, value)
