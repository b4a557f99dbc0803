"""A finished run in its folder: the results, and which answers they stand on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from palimpsest.records.failures import explained

if TYPE_CHECKING:
    from palimpsest.records.answers import AnswerRow
    from palimpsest.records.results import Results
    from palimpsest.records.run_folder import RunFolder
    from palimpsest.records.store import AnswerStore


def keep_finished(
    folder: RunFolder, store: AnswerStore, results: Results, rows: Sequence[AnswerRow]
) -> None:
    """Replace the figures and the answers of the run before; never leave some of either.

    Args:
        folder: Where ``results.json`` is written.
        store: Has the rows already.
        results: What was found.
        rows: The answers behind it.
    """
    with explained(folder.results):
        folder.results.unlink(missing_ok=True)
    store.record_run(rows)
    folder.write_text("results.json", results.to_json() + "\n")
