"""Puts the report of a laboratory run and the files beside it into its folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from palimpsest.records.run_folder import RunFolder
from palimpsest.report.lab.html import render_lab_page
from palimpsest.report.lab.plots import lab_drawings
from palimpsest.report.page import write_figure

if TYPE_CHECKING:
    from palimpsest.records.lab_results import Estimate, LabResults


def write_lab_report(folder: Path, results: LabResults) -> Path:
    """Write the report and everything beside it, and return the path of the page.

    Writes ``report.html``, ``conjugations.csv``, ``tuning.csv``, ``by_exemplars.csv``,
    ``closeness.csv``, ``remedies.csv``, and each figure as ``figures/NAME.png`` and ``.svg``. The
    same results give the same bytes.

    Raises:
        UserError: The folder cannot be written, or the disk is full.
    """
    target = RunFolder(folder)
    for name, rows in lab_tables(results):
        target.write_text(f"{name}.csv", csv_text(rows))
    figures = [write_figure(target, drawing) for drawing in lab_drawings(results)]
    return target.write_text("report.html", render_lab_page(results, figures))


def lab_tables(results: LabResults) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Yield the tables by name: unrounded numbers, empty where undefined."""
    yield (
        "conjugations",
        [
            {"conjugation": one.name, "n_members": one.n_members, "is_symmetry": one.is_symmetry}
            | _columns("base", one.base)
            | _columns("tuned", one.tuned)
            | _columns("tuned_disc", one.tuned_disc)
            | _columns("recovery", one.recovery)
            | _columns("net_recovery", one.net_recovery)
            | _columns("g_hat", one.g_hat)
            for one in results.conjugations
        ],
    )
    yield (
        "tuning",
        [
            {"step": one.step}
            | _columns("disc", one.disc)
            | _columns("cont", one.cont)
            | _columns("cont_ensemble", one.cont_ensemble)
            | _columns("g_hat", one.g_hat)
            | _columns("g_hat_ensemble", one.g_hat_ensemble)
            for one in results.curve
        ],
    )
    yield "by_exemplars", list(_by_exemplars(results))
    yield (
        "closeness",
        [
            {"by": one.by, "group": number, "closeness": decile.closeness}
            | _columns("change", decile.change)
            for one in results.closeness
            for number, decile in enumerate(one.deciles, 1)
        ],
    )
    yield (
        "remedies",
        [
            {"remedy": one.kind, "strength": one.strength}
            | _columns("disc", one.disc)
            | _columns("cont", one.cont)
            | _columns("cont_ensemble", one.cont_ensemble)
            for one in results.remedies
        ],
    )


def csv_text(rows: Sequence[dict[str, object]]) -> str:
    """Return a table as CSV with a line of names; empty without rows."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue()


def _by_exemplars(results: LabResults) -> Iterable[dict[str, object]]:
    for quantity, lines in (("loss", results.by_exemplars), ("g_hat", results.inference)):
        for one in lines:
            for position, value in enumerate(one.values):
                yield {
                    "quantity": quantity,
                    "predictor": one.name,
                    "kind": one.kind,
                    "n_exemplars": position,
                    "value": value,
                    "low": one.low[position] if one.low else None,
                    "high": one.high[position] if one.high else None,
                }


def _columns(name: str, one: Estimate) -> dict[str, object]:
    low, high = one.ci95 or (None, None)
    return {name: one.value, f"{name}_low": low, f"{name}_high": high}
