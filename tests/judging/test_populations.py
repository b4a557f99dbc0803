"""Populations are what they are said to be, and move to another truth by no more than it takes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples
from tests.judging.test_analysis import HIDDEN, rows_of, simulate

from palimpsest.judging.pairing import PLAIN, PairedAnswers
from palimpsest.judging.populations import Population, assumed_population, pilot_population

shares = st.floats(0.02, 0.98)
EXACT = pytest.approx


@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=3), st.floats(0, 1))
@examples(50)
def test_an_assumed_population_has_the_accuracies_that_were_assumed(
    pairs: list[tuple[float, float]], shared: float
) -> None:
    vias = [f"s{k}" for k in range(len(pairs) - 1)]
    found = assumed_population(pairs, vias, shared=shared)
    assert found.shares.sum() == EXACT(1)
    means = [found.mean(column) for column in range(2 * len(pairs))]
    assert means == EXACT([each for pair in pairs for each in pair])


def test_answers_that_share_nothing_are_independent_and_those_that_share_all_are_nested() -> None:
    apart = assumed_population([(0.9, 0.5)], [], shared=0.0)
    both = apart.scores.sum(axis=1) == 2
    assert apart.shares[both].sum() == EXACT(0.45)
    nested = assumed_population([(0.9, 0.5)], [], shared=1.0)
    gained = nested.scores[:, 0] < nested.scores[:, 1]
    assert nested.shares[gained].sum() == EXACT(0)


def _pilot(n: int = 60) -> Population:
    rows = simulate(n, HIDDEN, np.random.default_rng(1))
    answers = PairedAnswers(rows)
    return pilot_population(answers, answers.paired(PLAIN), ["fr", "leet"])


def test_a_pilot_counts_each_of_its_examples_alike_and_two_imaginary_ones() -> None:
    marks = {
        "base identity": "1111111100", "tuned identity": "1000000000",
        "base fr": "1111111111", "tuned fr": "1111100000",
    }  # fmt: skip
    answers = PairedAnswers(rows_of(marks))
    found = pilot_population(answers, answers.paired(PLAIN), ["fr"])
    means = [found.mean(column) for column in range(4)]
    assert means == EXACT([(8 + 1) / 12, (1 + 1) / 12, (10 + 1) / 12, (5 + 1) / 12])


@given(st.floats(0, 0.9), st.floats(0, 1), st.floats(0, 1))
@examples(80)
def test_any_fall_and_any_recovery_can_be_had_and_nothing_else_changes(
    share: float, first: float, second: float
) -> None:
    pilot = _pilot()
    fall = share * pilot.base
    moved = pilot.with_fall(fall)
    assert (moved.fall, moved.base) == EXACT((fall, pilot.base))
    assert moved.shares.min() >= -1e-12
    if fall < 0.01:
        return
    for via, recovery in (("fr", first), ("leet", second)):
        moved = moved.with_recovery(via, recovery)
    assert [moved.recovery(via) for via in ("fr", "leet")] == EXACT([first, second], abs=1e-9)
    assert (moved.fall, moved.base) == EXACT((fall, pilot.base))
    for under in (2, 4):  # of the base model
        assert moved.mean(under) == EXACT(pilot.mean(under))
    assert moved.shares.min() >= -1e-12
    assert moved.shares.sum() == EXACT(1)


def test_no_more_answers_change_than_it_takes() -> None:
    pilot = _pilot()
    smaller = pilot.with_fall(pilot.fall - 0.1)
    n = len(pilot.shares)
    assert smaller.shares[n:].sum() == EXACT(0.1)  # of scores 0 and 1: as many as it takes
    assert pilot.with_fall(pilot.fall) is pilot


def test_drawn_answers_have_the_accuracies_of_their_population() -> None:
    pilot = _pilot()
    drawn = pilot.draw(20_000, np.random.default_rng(3))
    for column, (role, via) in enumerate([("base", PLAIN), ("tuned", PLAIN), ("base", "fr")]):
        scores = drawn.scores(role, via, drawn.sources)
        # Four standard errors of a share.
        assert scores.mean() == pytest.approx(pilot.mean(column), abs=4 * 0.5 / 20_000**0.5)
        outcomes = drawn.outcomes(role, via, drawn.sources)
        assert [outcome == "right" for outcome in outcomes] == (scores == 1).tolist()
    some = drawn.sources[10:20]
    whole = drawn.scores("tuned", "leet", drawn.sources)
    assert drawn.scores("tuned", "leet", some).tolist() == whole[10:20].tolist()


def test_graded_scores_stay_what_the_pilot_has() -> None:
    rows = [
        row._replace(score=0.6, outcome="broken") if row.role == "base" else row
        for row in simulate(40, HIDDEN[:1], np.random.default_rng(2))
    ]
    answers = PairedAnswers(rows)
    found = pilot_population(answers, answers.paired(PLAIN), [])
    drawn = found.draw(500, np.random.default_rng(0))
    assert set(drawn.scores("base", PLAIN, drawn.sources)) == {0.0, 0.6, 1.0}
    assert found.with_fall(0.05).fall == EXACT(0.05)
