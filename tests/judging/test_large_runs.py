"""Whether a run is taken in one piece or in many, from memory or from the file, is all the same."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from benchmarks.bookkeeping import answerer, suite_of

from palimpsest.judging import evaluation, pairing, questions
from palimpsest.judging.analysis import analyse
from palimpsest.judging.diagnosis import diagnose
from palimpsest.judging.evaluation import evaluate, evaluate_stored
from palimpsest.judging.pairing import PLAIN, PairedAnswers
from palimpsest.judging.via import parse_via
from palimpsest.judging.warnings import find_oddities
from palimpsest.records import AnswerRow, AnswerStore, StoredAnswers, stored_answers

VIAS = ("identity", "leet", "upper", "rot13")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(tmp_path / "answers.sqlite") as opened:
        yield opened


def timeless(rows: Sequence[AnswerRow]) -> list[AnswerRow]:
    return [row._replace(latency_seconds=0.0) for row in rows]


def both_asked(store: AnswerStore, n: int) -> StoredAnswers:
    suite = suite_of(n)
    vias = [parse_via(spec, suite) for spec in VIAS]
    found = [
        evaluate_stored(answerer(role, right), suite, vias, store=store, role=role)
        for role, right in (("base", 0.9), ("tuned", 0.5))
    ]
    return found[0].and_then(found[1])


def test_examples_taken_a_few_at_a_time_give_the_rows_of_all_at_once(
    store: AnswerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = suite_of(60)
    vias = [parse_via(spec, suite) for spec in VIAS]
    at_once = evaluate(answerer("m", 0.5), suite, vias, store=store, role="base")
    monkeypatch.setattr(evaluation, "_N_TOGETHER", 7)
    seen: list[tuple[int, int, int]] = []
    with AnswerStore(tmp_path / "few.sqlite") as few:
        some = evaluate(
            answerer("m", 0.5),
            suite,
            vias,
            store=few,
            role="base",
            progress=lambda *counts: seen.append(counts),
        )
        assert timeless(some) == timeless(at_once)
        again = evaluate(answerer("m", 0.5), suite, vias, store=few, role="base")
    assert again == some
    assert seen[-1] == (240, 240, 0)
    assert [n_done for n_done, _, _ in seen] == sorted(n_done for n_done, _, _ in seen)


def test_the_analysis_of_stored_answers_is_that_of_a_list(store: AnswerStore) -> None:
    stored = both_asked(store, 80)
    suite = suite_of(80)
    vias = [parse_via(spec, suite) for spec in VIAS]
    options: dict[str, Any] = {"vias": vias, "cells": suite.cells, "n_resamples": 300}
    assert analyse(stored, **options) == analyse(list(stored), **options)
    assert analyse(reversed(list(stored)), **options) == analyse(list(stored), **options)
    assert find_oddities(stored, suite, vias) == find_oddities(list(stored), suite, vias)


def test_flags_are_counted_in_the_order_in_which_they_come(store: AnswerStore) -> None:
    stored = both_asked(store, 40)
    answers = PairedAnswers(stored)
    sources = answers.paired(PLAIN)
    for role in ("base", "tuned"):
        rows = {row.key.source_id: row for row in stored if (row.role, row.via) == (role, PLAIN)}
        assert list(answers.rows(role, PLAIN, sources)) == [rows[source] for source in sources]
        assert answers.outcomes(role, PLAIN, sources) == [rows[s].outcome for s in sources]


def test_a_pair_of_one_model_is_paired_in_both_roles(tmp_path: Path) -> None:
    model = answerer("same", 0.7)
    found = diagnose(model, model, suite=suite_of(40), via=["rot13"], out=tmp_path, n_resamples=200)
    assert found.plain.base.n == found.plain.tuned.n == 40
    assert (found.plain.n_lost, found.plain.n_gained) == (0, 0)
    assert found.verdict != "lost"


@pytest.mark.slow
def test_what_a_run_holds_in_memory_grows_by_some_bytes_an_answer(
    store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Blocks of so many, and as many measures and prompts that are kept: all have a bound.
    monkeypatch.setattr(evaluation, "_N_TOGETHER", 50)
    monkeypatch.setattr(stored_answers, "_N_READ", 50)
    monkeypatch.setattr(pairing, "_N_LOOKED_AT", 50)
    monkeypatch.setattr(questions, "_SURVIVED", questions._Kept(50))
    measured = questions._exact_measure.__wrapped__
    monkeypatch.setattr(questions, "_exact_measure", lru_cache(maxsize=50)(measured))

    def peak(n: int) -> int:
        suite = suite_of(n)
        vias = [parse_via(spec, suite) for spec in VIAS]
        tracemalloc.start()
        stored = both_asked(store, n)
        analyse(stored, vias=vias, cells=suite.cells, n_resamples=100)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)  # what is loaded once
    small, large = peak(200), peak(600)
    # The examples themselves take about 1.5 kB; the answers to each, eight of them, a part of that.
    assert (large - small) / (400 * 8) < 700
