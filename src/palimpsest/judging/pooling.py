"""Figures of the cells, each drawn towards the others; beside the raw ones, and no verdict's."""

from __future__ import annotations

from collections.abc import Sequence

from palimpsest.judging.wording import is_graded
from palimpsest.records import Best, Cell, ConjugationResult, Pooled, PooledCell
from palimpsest.stats import LEAST_CELLS, pooled_falls, pooled_shares


def pool_cells(
    cells: Sequence[Cell], conjugations: Sequence[ConjugationResult], best: Best | None
) -> Pooled | None:
    """Return the falls of all cells, and what of them comes back, partially pooled.

    What comes back is the share of the examples that were lost (right in the base model, wrong in
    the tuned) and are right again under the conjugation that was chosen over all cells. It is
    pooled over the cells that have a recovery under it, which clearly fell.

    Args:
        cells: Of the suite.
        conjugations: Over all cells.
        best: The one that was chosen; without a choice, that which brings most back counts.

    Returns:
        ``None`` for graded scores, and for fewer than :data:`.LEAST_CELLS` cells: so few tell
        nothing of cells in general.
    """
    if len(cells) < LEAST_CELLS or any(is_graded(cell.plain) for cell in cells):
        return None
    falls = pooled_falls(
        [cell.plain.n_lost for cell in cells],
        [cell.plain.n_gained for cell in cells],
        [cell.plain.base.n for cell in cells],
    )
    via = _chosen(conjugations, best)
    back = {cell.name: one for cell in cells if (one := _back(cell, via)) is not None}
    shares = {}
    if len(back) >= LEAST_CELLS:
        found = pooled_shares(
            [one.n_returned or 0 for one in back.values()],
            [one.n_fell or 0 for one in back.values()],
        )
        shares = dict(zip(back, found, strict=True))
    pooled = []
    for cell, fall in zip(cells, falls, strict=True):
        mine = PooledCell(name=cell.name, fall=fall.mean, fall_ci95=fall.interval)
        if cell.name in shares:
            share, counts = shares[cell.name], back[cell.name]
            returned = {"returned": share.mean, "returned_ci95": share.interval}
            counted = {"n_fell": counts.n_fell, "n_returned": counts.n_returned}
            mine = mine.model_copy(update=returned | counted)
        pooled.append(mine)
    return Pooled(via=via if shares else None, cells=pooled)


def _chosen(conjugations: Sequence[ConjugationResult], best: Best | None) -> str | None:
    if best is not None:
        return best.name
    known = [one for one in conjugations if one.recovery is not None]
    return max(known, key=lambda one: one.recovery or 0.0).name if known else None


def _back(cell: Cell, via: str | None) -> ConjugationResult | None:
    """Return a cell's figures under the conjugation, if it clearly fell on these examples."""
    found = (one for one in cell.conjugations if one.name == via)
    return next((one for one in found if one.recovery is not None and one.n_fell), None)
