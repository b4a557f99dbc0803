from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples
from tests.families.simulated import suite_of

from palimpsest.families.cell_figures import cell_figures, share_of_gain
from palimpsest.families.target import ScoredExamples, Target
from palimpsest.records import CellFigures

patterns = st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=40)
grades = st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=20)


def scored(rows: Sequence[tuple[float, ...]]) -> ScoredExamples:
    """Return examples with the scores of base, tuned and member."""
    names = [f"{i:03}" for i in range(len(rows))]
    values = np.array(rows, dtype=np.float64).reshape(len(rows), 3)
    return ScoredExamples(names, values, ["base", "tuned", "member"])


def figures(rows: Sequence[tuple[float, ...]]) -> CellFigures:
    cells = dict.fromkeys(scored(rows).names, "all")
    [found] = cell_figures(scored(rows), "member", cells, part="suite", n_resamples=100)
    return found


def test_the_four_figures_by_hand() -> None:
    # Base, tuned, member: healed twice, not healed, preserved, newly damaged, lost again, won.
    rows = [(1, 0, 1), (1, 0, 1), (1, 0, 0), (1, 1, 1), (1, 1, 0), (0, 1, 0), (0, 0, 1)]
    found = figures([tuple(map(float, row)) for row in rows])
    assert (found.n, found.n_fallen) == (7, 3)
    assert found.healed.value == pytest.approx(2 / 3)
    assert found.preserved.value == pytest.approx(1 / 3)
    assert found.damaged.value == pytest.approx(1 / 7)


def test_where_nothing_fell_there_is_nothing_to_heal() -> None:
    found = figures([(1.0, 1.0, 1.0)] * 5)
    assert found.healed.value is None
    assert found.healed.ci95 is None
    assert found.preserved.value == 1


@given(patterns)
@examples(60)
def test_the_base_heals_all_and_the_tuned_model_preserves_all(rows: list[tuple[bool, ...]]) -> None:
    as_base = figures([(float(b), float(t), float(b)) for b, t, _ in rows])
    as_tuned = figures([(float(b), float(t), float(t)) for b, t, _ in rows])
    assert as_base.healed.value in (1, None)
    assert as_tuned.healed.value in (0, None)
    assert as_tuned.preserved.value in (1, None)
    assert as_base.damaged.value == as_tuned.damaged.value == 0


@given(patterns)
@examples(60)
def test_accuracy_is_what_is_preserved_and_healed_and_won(rows: list[tuple[bool, ...]]) -> None:
    found = figures([tuple(map(float, row)) for row in rows])
    b, t, m = np.array(rows, dtype=np.float64).T
    healed = (found.healed.value or 0) * found.n_fallen
    preserved = (found.preserved.value or 0) * t.sum()
    won = float(np.sum((1 - b) * (1 - t) * m))  # right in the member alone
    assert healed + preserved + won == pytest.approx(m.sum())


@given(grades)
@examples(60)
def test_graded_scores_give_shares_with_ordered_intervals(rows: list[tuple[float, ...]]) -> None:
    found = figures(rows)
    for one in (found.healed, found.preserved, found.damaged):
        if one.value is not None:
            assert -1e-9 <= one.value <= 1 + 1e-9
            assert one.ci95 is None or one.ci95[0] <= one.ci95[1]


def test_cells_come_in_the_order_of_their_examples_and_count_their_own() -> None:
    examples_ = scored([(1.0, 0.0, 1.0)] * 3 + [(1.0, 0.0, 0.0)] * 2)
    cells = {name: "b" if place < 3 else "a" for place, name in enumerate(examples_.names)}
    found = list(cell_figures(examples_, "member", cells, part="suite", n_resamples=100))
    assert [(one.cell, one.n, one.healed.value) for one in found] == [("b", 3, 1.0), ("a", 2, 0.0)]


def test_the_gain_that_is_kept_goes_from_base_to_tuned_in_both_units() -> None:
    rows = [(0.0, 1.0, 1.0)] * 20 + [(0.0, 1.0, 0.0)] * 20 + [(1.0, 1.0, 1.0)] * 20
    of_suite = Target(suite_of(scored(rows).names))
    kept = share_of_gain(of_suite, scored(rows), "member", "", 0, 1_000)
    assert kept.value == pytest.approx(0.5)
    text = Target(suite_of([]), is_text=True, n_bytes=dict.fromkeys(scored(rows).names, 10))
    bits = [(1.0, 0.5, 0.75)] * 40
    saved = share_of_gain(text, scored(bits), "member", "", 0, 1_000)
    assert saved.value == pytest.approx(0.5)
    assert saved.ci95 == pytest.approx((0.5, 0.5))


def test_a_gain_that_is_not_clear_is_not_shared_out() -> None:
    rows = [(1.0, 1.0, 0.0)] * 30
    of_suite = Target(suite_of(scored(rows).names))
    assert share_of_gain(of_suite, scored(rows), "member", "", 0, 500).value is None
