"""The store keeps every answer exactly, whatever the text and whatever happens to the process."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import UserError
from palimpsest.records.answers import AnswerKey, AnswerRow
from palimpsest.records.store import FORMAT_VERSION, OLDEST_READ, AnswerStore

ODD_TEXTS = {
    "empty": "",
    "NUL": "a\x00b\x00",
    "lone surrogates": "\ud800 and \udfff",
    "a pair of surrogates": "\ud83d\ude00",
    "an emoji": "\U0001f600",
    "right to left": "שלום עולם، مرحبا\u202e",
    "100 kB": "é" * 50_000,
    "markup": "<script>alert('x')</script>&amp;",
    "line ends": "\r\n\n\r\u2028",
    "a quote": "'; DROP TABLE answers; --",
    "not normalised": "e\u0301",
    "digits": "007",
}


def a_row(source_id: str = "repeat/1", **changes: object) -> AnswerRow:
    key = AnswerKey(
        model="m", suite="s", source_id=source_id, conjugation="c", settings="settings-example"
    )
    row = AnswerRow(
        key=key,
        role="base",
        via="leet",
        cell="repeat",
        language="en",
        prompt="54y \\7",
        raw="5",
        answer="s",
        right_answers='["s"]',
        intruding_answers='["12", "TWELVE"]',
        outcome="right",
        finish="stop",
        round_trip=True,
        latency_seconds=0.25,
    )
    return row._replace(**changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


def everything(path: Path) -> list[AnswerRow]:
    with AnswerStore(path, read_only=True) as store:
        return store.rows(model="m", suite="s")


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_any_text_comes_back_exactly_in_every_column(path: Path, text: str) -> None:
    row = a_row(text, role=text, via=text, cell=text, language=text, prompt=text, raw=text)
    row = row._replace(answer=text, right_answers=text, intruding_answers=text, finish=text)
    with AnswerStore(path) as store:
        store.add([row])
    assert everything(path) == [row]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnswerStore]:
    with AnswerStore(tmp_path_factory.mktemp("shared") / "answers.sqlite") as store:
        yield store


@given(text=st.text(st.characters(exclude_categories=())))
def test_all_of_unicode_comes_back_exactly(shared: AnswerStore, text: str) -> None:
    row = a_row(text, raw=text)
    row = row._replace(key=row.key._replace(model=text))
    shared.add([row])
    assert shared.rows(model=text, suite="s") == [row]


@pytest.mark.parametrize("round_trip", [True, False, None])
def test_the_round_trip_stays_a_bool_or_none(path: Path, round_trip: bool | None) -> None:
    with AnswerStore(path) as store:
        store.add([a_row(round_trip=round_trip)])
    assert everything(path)[0].round_trip is round_trip


def test_ordinary_text_can_be_read_with_any_sqlite_browser(path: Path) -> None:
    with AnswerStore(path) as store:
        store.add([a_row(prompt="déjà vu")])
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT prompt FROM answers").fetchone() == ("déjà vu",)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_row_with_the_same_key_replaces_the_older_one(path: Path) -> None:
    with AnswerStore(path) as store:
        store.add([a_row(raw="old")])
        store.add([a_row(raw="new")])
        assert len(store) == 1
    assert everything(path) == [a_row(raw="new")]


@pytest.mark.parametrize("field", AnswerKey._fields)
def test_rows_that_differ_in_any_part_of_the_key_are_kept_apart(path: Path, field: str) -> None:
    row = a_row()
    other = row._replace(key=row.key._replace(**{field: "other"}))
    with AnswerStore(path) as store:
        store.add([row, other])
        assert len(store) == 2


def test_rows_are_found_by_model_suite_and_the_beginning_of_the_settings(path: Path) -> None:
    rows = [
        row._replace(key=row.key._replace(settings=settings))
        for row in [a_row()]
        for settings in ("aa-1", "aa-2", "ab-1", "a_-1", "a%-1")
    ]
    with AnswerStore(path) as store:
        store.add(rows)
        assert store.rows(model="m", suite="s", settings="aa-") == rows[:2]
        assert store.rows(model="m", suite="s", settings="a_") == [rows[3]]
        assert store.rows(model="m", suite="s") == rows
        assert store.rows(model="other", suite="s") == []
        assert store.rows(model="m", suite="other") == []


def test_the_newest_run_comes_back_in_its_order_with_its_roles_and_nothing_else(
    path: Path,
) -> None:
    rows = [a_row(name) for name in ("1", "2", "a\x00b", "\ud800")]
    tuned = [row._replace(role="tuned") for row in rows]
    with AnswerStore(path) as store:
        assert store.run_rows() == []
        store.add(rows)
        store.record_run(rows)
        assert store.run_rows() == rows
        store.record_run([*reversed(rows[1:]), tuned[3]])
    with AnswerStore(path, read_only=True) as store:
        assert store.run_rows() == [*reversed(rows[1:]), tuned[3]]


def test_the_newest_answers_are_those_of_the_run_in_its_roles_or_all_if_none_has_finished(
    path: Path,
) -> None:
    rows = [a_row(name) for name in ("1", "2", "3", "4")]
    with AnswerStore(path) as store:
        assert list(store.newest_answers()) == []
        store.add(rows)
        assert list(store.newest_answers()) == rows
        both = [row._replace(role=role) for role in ("base", "tuned") for row in rows[2:]]
        store.record_run(both)  # as many as the store has, but not the same
        assert list(store.newest_answers()) == both


def test_the_newest_run_has_the_answers_as_they_are_now(path: Path) -> None:
    with AnswerStore(path) as store:
        store.add([a_row(outcome="broken")])
        store.record_run([a_row()])
        store.add([a_row(outcome="right")])
        assert store.run_rows() == [a_row(outcome="right")]


def test_a_batch_is_written_whole_or_not_at_all(path: Path) -> None:
    with AnswerStore(path) as store:
        with pytest.raises(sqlite3.IntegrityError):
            store.add([a_row("fine"), a_row("wrong", latency_seconds=None)])
        store.add([a_row("next")])
    assert [row.key.source_id for row in everything(path)] == ["next"]


def test_rows_are_in_the_file_as_soon_as_they_are_added(path: Path) -> None:
    with AnswerStore(path) as store:
        store.add([a_row()])
        assert everything(path) == [a_row()]


@pytest.mark.slow
def test_ten_thousand_rows_written_one_by_one_take_little_time(path: Path) -> None:
    rows = [a_row(f"repeat/{i}", prompt="p" * 300) for i in range(10_000)]
    started = time.perf_counter()
    with AnswerStore(path) as store:
        for row in rows:
            store.add([row])
    written = time.perf_counter() - started
    assert everything(path) == rows
    # About 0.4 s on two idle cores; a disk flush for every row would take minutes.
    assert written < 8


def test_a_store_may_be_closed_twice(path: Path) -> None:
    store = AnswerStore(path)
    store.close()
    store.close()
    assert everything(path) == []


def test_another_program_that_locks_the_file_gets_a_message(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palimpsest.records.store._PATIENCE_SECONDS", 0.05)
    with AnswerStore(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="locked by another program"):
            store.add([a_row()])
        other.close()
        store.add([a_row()])
    assert everything(path) == [a_row()]


# --- files that are not ours, or not whole ------------------------------------------------------


def fill(path: Path, n: int) -> None:
    with AnswerStore(path) as store:
        store.add([a_row(f"repeat/{i}", prompt="p" * 500) for i in range(n)])


def test_a_file_that_is_no_database_is_reported_and_left_alone(path: Path) -> None:
    path.write_text("Dear diary, " * 200)
    with pytest.raises(UserError, match=r"answers\.sqlite' is damaged") as caught:
        AnswerStore(path)
    assert "Move it away" in str(caught.value.hint)
    assert path.read_text().startswith("Dear diary")


def test_a_damaged_file_is_reported_on_opening(path: Path) -> None:
    fill(path, 500)
    content = bytearray(path.read_bytes())
    content[8192:12288] = os.urandom(4096)
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        AnswerStore(path)
    with pytest.raises(UserError, match="is damaged"):
        AnswerStore(path, read_only=True)


def test_a_truncated_file_is_reported_on_opening(path: Path) -> None:
    fill(path, 500)
    path.write_bytes(path.read_bytes()[: 3 * 4096 + 100])
    with pytest.raises(UserError, match="is damaged"):
        AnswerStore(path)


def test_an_empty_file_is_a_new_store(path: Path) -> None:
    path.touch()
    fill(path, 1)
    assert len(everything(path)) == 1


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(UserError, match="not one that palimpsest wrote"):
        AnswerStore(path)
    assert path.read_bytes() == before


def test_a_newer_format_is_refused_with_the_way_out(path: Path) -> None:
    AnswerStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    connection.close()
    for read_only in (False, True):
        with pytest.raises(
            UserError, match=f"newer palimpsest: its format is {FORMAT_VERSION + 1}"
        ) as caught:
            AnswerStore(path, read_only=read_only)
        assert "Upgrade Palimpsest" in str(caught.value.hint)


def test_reading_where_nothing_was_written_says_so(path: Path) -> None:
    with pytest.raises(UserError, match="no answers at"):
        AnswerStore(path, read_only=True)
    assert not path.exists()


ADDED_IN = {
    2: ("fidelity", "survival", "flags", "n_prompt_tokens", "n_answer_tokens"),
    3: ("score",),
    4: ("scoring",),
}


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION))
def test_a_file_of_an_earlier_format_is_brought_up_to_date_with_its_rows(
    path: Path, version: int
) -> None:
    with AnswerStore(path) as store:
        store.add([a_row()])
    connection = sqlite3.connect(path)
    for later in range(version + 1, FORMAT_VERSION + 1):
        for column in ADDED_IN[later]:
            connection.execute(f"ALTER TABLE answers DROP COLUMN {column}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()

    if version < OLDEST_READ:
        with pytest.raises(UserError, match=f"older palimpsest, in format {version}"):
            AnswerStore(path, read_only=True)
    else:
        with AnswerStore(path, read_only=True) as store:
            assert store.rows(model="m", suite="s") == [a_row()]
    newer = a_row("2", fidelity=0.5, survival=1.0, flags="x", n_prompt_tokens=3, score=0.25)
    with AnswerStore(path) as store:
        assert store.rows(model="m", suite="s") == [a_row()]
        store.add([newer])
    with AnswerStore(path, read_only=True) as store:
        assert store.rows(model="m", suite="s")[1] == newer
