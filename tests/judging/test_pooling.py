from __future__ import annotations

import pytest
from tests.report.diagnosis.factory import fake_results

from palimpsest.judging.pooling import pool_cells
from palimpsest.records import Results


def with_returns(results: Results) -> Results:
    """Return results that say how many examples return under each conjugation."""
    cells = [
        cell.model_copy(
            update={
                "conjugations": [
                    one.model_copy(update={"n_fell": 40, "n_returned": 30, "recovery": 0.8})
                    for one in cell.conjugations
                ]
            }
        )
        for cell in results.cells
    ]
    return results.model_copy(update={"cells": cells})


def test_falls_are_pooled_over_all_cells_and_returns_under_the_conjugation_that_was_chosen() -> (
    None
):
    results = with_returns(fake_results())
    found = pool_cells(results.cells, results.conjugations, results.best)
    assert found is not None
    assert results.best is not None
    assert found.via == results.best.name
    assert [one.name for one in found.cells] == [cell.name for cell in results.cells]
    for one in found.cells:
        assert one.fall_ci95[0] < one.fall < one.fall_ci95[1]
        assert (one.n_fell, one.n_returned) == (40, 30)
        assert one.returned == pytest.approx(0.75, abs=0.02)


def test_cells_that_did_not_clearly_fall_have_no_return_and_three_are_needed() -> None:
    results = with_returns(fake_results())
    unclear = [
        cell.model_copy(
            update={
                "conjugations": [
                    one.model_copy(update={"recovery": None}) for one in cell.conjugations
                ]
            }
        )
        for cell in results.cells
    ]
    cells = [*unclear[:1], *results.cells[1:]]
    found = pool_cells(cells, results.conjugations, results.best)
    assert found is not None
    assert found.cells[0].returned is None
    assert all(one.returned is not None for one in found.cells[1:])
    cells = [*unclear[:2], *results.cells[2:]]
    found = pool_cells(cells, results.conjugations, results.best)
    assert found is not None
    assert found.via is None
    assert all(one.returned is None for one in found.cells)


def test_nothing_is_pooled_over_two_cells_or_graded_scores() -> None:
    results = fake_results()
    assert pool_cells(results.cells[:2], results.conjugations, results.best) is None
    graded = [
        cell.model_copy(
            update={"plain": cell.plain.model_copy(update={"forgetting_newcombe95": None})}
        )
        for cell in results.cells
    ]
    assert pool_cells(graded, results.conjugations, results.best) is None
