"""A full, small, read-only or failing disk gets a message, and nothing written is lost."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.records.answers import AnswerKey, AnswerRow
from palimpsest.records.failures import explain_os_error, explain_sqlite_error, explained
from palimpsest.records.store import AnswerStore


def a_row(source_id: str) -> AnswerRow:
    key = AnswerKey("m", "s", source_id, "c", "settings")
    prompt = "p" * 1000
    texts = (prompt, "raw", "answer", "[]", "[]", "right", "stop")
    return AnswerRow(key, "base", "leet", "repeat", "en", *texts, True, 0.25)  # type: ignore[arg-type]


def everything(path: Path) -> list[AnswerRow]:
    with AnswerStore(path, read_only=True) as store:
        return store.rows(model="m", suite="s")


def test_errors_that_only_a_bug_causes_pass_through_unchanged() -> None:
    with (
        contextlib.closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(sqlite3.OperationalError, match="nonsense"),
        explained(Path("a")),
    ):
        connection.execute("SELECT nonsense")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EIO, errno.ENAMETOOLONG])
def test_an_operating_system_error_is_named_with_the_path(code: int) -> None:
    message = str(explain_os_error(Path("runs/a"), OSError(code, "")))
    assert f"'runs/a' cannot be read or written: {os.strerror(code)}." in message


def test_an_sqlite_error_without_a_code_is_left_alone() -> None:
    assert explain_sqlite_error(Path("a"), sqlite3.ProgrammingError("closed")) is None


@pytest.mark.parametrize(
    "place",
    ["/proc/palimpsest/answers.sqlite", "/proc/1/answers.sqlite", "/dev/null/answers.sqlite"],
)
def test_an_unwritable_place_gets_a_message(place: str) -> None:
    with pytest.raises(UserError, match="cannot be opened or written"):
        AnswerStore(Path(place))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill_up(place: Path) -> Path:
    """Write a file that leaves no byte free."""
    ballast = place / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return ballast


def test_a_full_disk_loses_nothing_that_was_written_and_the_run_continues(
    small_disk: Path,
) -> None:
    path = small_disk / "answers.sqlite"
    rows = iter(a_row(f"repeat/{i}") for i in range(1000))
    written: list[AnswerRow] = []

    def write_on(store: AnswerStore) -> None:
        for row in rows:
            store.add([row])
            written.append(row)

    with AnswerStore(path) as store:
        store.add([first := next(rows)])
        ballast = fill_up(small_disk)
        with pytest.raises(UserError, match="is full") as caught:
            write_on(store)
        assert "Free some space" in str(caught.value.hint)
        assert everything(path) == [first, *written]
    ballast.unlink()
    with AnswerStore(path) as store:
        store.add([a_row("after")])
    assert everything(path) == [first, *written, a_row("after")]


def test_a_disk_that_is_full_from_the_start_gets_a_message(small_disk: Path) -> None:
    fill_up(small_disk)
    with pytest.raises(UserError, match="is full"):
        AnswerStore(small_disk / "answers.sqlite")


def test_a_finished_store_can_be_read_from_a_read_only_disk(small_disk: Path) -> None:
    path = small_disk / "answers.sqlite"
    with AnswerStore(path) as store:
        store.add([a_row("1"), a_row("2"), a_row("3")])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert len(everything(path)) == 3
    with pytest.raises(UserError, match=r"cannot be opened or written|cannot be read or written"):
        AnswerStore(path)


SIZE_LIMIT = """
import resource, sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[2]).parent))
from test_failures import a_row
from palimpsest.errors import UserError
from palimpsest.records.store import AnswerStore
path = Path(sys.argv[1])
with AnswerStore(path) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    written = 0
    try:
        for i in range(1000):
            store.add([a_row(f"repeat/{i}")])
            written += 1
    except UserError as error:
        print(error)
    assert 0 < written < 1000, written
    assert len(store) == written
"""


@pytest.mark.slow
def test_a_file_size_limit_gets_a_message_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    command = [sys.executable, "-c", SIZE_LIMIT, str(path), __file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "could not be written" in done.stdout
    assert "ulimit -f" in done.stdout
    assert everything(path)
