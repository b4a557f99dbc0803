"""Answers that are read from the store when they are looked at are those of a list in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.records.test_store import ODD_TEXTS, a_row

from palimpsest.records import AnswerKey, AnswerRow, StoredAnswers, columns_of, taken
from palimpsest.records.store import AnswerStore

FIELDS = (*AnswerKey._fields, *AnswerRow._fields[1:])


def rows_of(n: int, role: str = "base") -> list[AnswerRow]:
    texts = list(ODD_TEXTS.values())
    return [
        a_row(
            f"{role}-{at}",
            role=role,
            prompt=texts[at % len(texts)],
            round_trip=(True, False, None)[at % 3],
            score=None if at % 2 else at / n,
        )
        for at in range(n)
    ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(tmp_path / "answers.sqlite") as opened:
        yield opened


def stored(store: AnswerStore, rows: list[AnswerRow], role: str = "base") -> StoredAnswers:
    store.add(rows)
    sources = [row.key.source_id for row in rows]
    places = store.places(model="m", suite="s", sources=sources)
    return store.answers_at(np.array([places[row.key] for row in rows]), role)


@pytest.mark.parametrize("n", [0, 1, 50, 2001])
def test_they_come_in_their_order_with_every_text_whole(store: AnswerStore, n: int) -> None:
    rows = rows_of(n)
    found = stored(store, rows)
    assert len(found) == n
    assert list(found) == rows
    assert [list(values) for values in columns_of(found, *FIELDS)] == [
        list(values) for values in columns_of(rows, *FIELDS)
    ]


def test_they_are_taken_apart_like_a_list(store: AnswerStore) -> None:
    rows = rows_of(30)
    found = stored(store, rows)
    assert (found[3], found[-1]) == (rows[3], rows[-1])
    assert list(found[5:25:3]) == rows[5:25:3]
    at = np.array([7, 0, 7, 29])
    assert list(taken(found, at)) == list(taken(rows, at)) == [rows[place] for place in at]


def test_answers_of_one_model_in_two_roles_keep_both(store: AnswerStore) -> None:
    rows = rows_of(4)
    base = stored(store, rows)
    as_tuned = [row._replace(role="tuned") for row in rows]
    both = base.and_then(stored(store, as_tuned, "tuned"))
    assert list(both) == rows + as_tuned
    assert [role for (role,) in columns_of(both, "role")] == ["base"] * 4 + ["tuned"] * 4


def test_an_answer_that_takes_anothers_place_is_seen_there(store: AnswerStore) -> None:
    rows = rows_of(3)
    found = stored(store, rows)
    newer = rows[1]._replace(raw="another")
    store.add([newer])
    assert list(found) == [rows[0], newer, rows[2]]


def test_the_newest_run_is_recorded_and_read_the_same_by_place_and_by_rows(
    store: AnswerStore,
) -> None:
    rows = rows_of(2500)
    found = stored(store, rows)
    chosen = found.take(np.arange(2499, -1, -2))
    store.record_run(chosen)
    by_place = store.run_rows()
    assert by_place == rows[::-2]
    store.record_run(iter(rows[::-2]))
    assert list(store.run_answers()) == by_place


def test_they_take_little_memory_whatever_is_in_them(store: AnswerStore) -> None:
    found = stored(store, rows_of(1000))
    n_bytes = found._places.nbytes + found._roles.nbytes
    assert n_bytes <= 9 * len(found)  # a place of eight bytes and a role of one
