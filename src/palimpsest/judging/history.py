"""History of a project: the runs of successive trainings, and which changes between them are clear.

Runs that follow each other are compared by their tuned models' plain answers to the same examples,
cell by cell and over all; the p-values of all these comparisons are adjusted together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from palimpsest.errors import UserError
from palimpsest.judging.conclude import read_results
from palimpsest.judging.pairing import PLAIN
from palimpsest.judging.samples import averaged
from palimpsest.records import (
    THRESHOLDS,
    AnswerStore,
    Cell,
    Drawn,
    History,
    HistoryChange,
    HistoryFigures,
    HistoryRun,
    Results,
    RunFolder,
    columns_of,
    points,
)
from palimpsest.stats import estimate_forgetting, holm, named_stream


class _Answer(NamedTuple):
    """What is compared of an answer; its texts stay in the file."""

    prompt: int
    """A hash: equal ones are equal prompts."""
    cell: str
    score: float


class _Run(NamedTuple):
    folder: str
    results: Results
    answers: dict[str, _Answer]
    """The tuned model's plain answers, by source example."""


def compare_runs(folders: Sequence[Path | str]) -> History:
    """Return what became of an ability over several runs.

    Args:
        folders: Of finished runs on one suite, the earliest first.

    Raises:
        UserError: Fewer than two runs, one that has not finished, or runs of different suites.
    """
    if len(folders) < 2:
        raise UserError(
            f"A history needs two runs or more; got {len(folders)}.",
            hint="Name the folders of successive runs, the earliest first.",
        )
    runs = [_read(Path(folder)) for folder in folders]
    suites = {run.results.suite.name: run.folder for run in runs}
    if len(suites) > 1:
        listed = ", ".join(f"'{name}' ({folder})" for name, folder in suites.items())
        raise UserError(
            f"The runs are of different suites: {listed}.",
            hint="Compare runs that asked the same.",
        )
    found = [
        each for at, (one, other) in enumerate(pairwise(runs)) for each in _compared(at, one, other)
    ]
    adjusted = holm([each.p_value for each in found])
    changes = [
        each.model_copy(update={"p_holm": p, "is_clear": p < THRESHOLDS.alpha})
        for each, p in zip(found, adjusted, strict=True)
    ]
    return History(suite=next(iter(suites)), runs=[_recorded(run) for run in runs], changes=changes)


def _read(path: Path) -> _Run:
    folder = RunFolder.find(path)
    results = read_results(folder)
    with AnswerStore(folder.answers, read_only=True) as store:
        return _Run(str(path), results, tuned_answers(store, results.samples))


def tuned_answers(store: AnswerStore, samples: Drawn | None) -> dict[str, _Answer]:
    """Return the tuned model's plain answers of the newest run in a store, by source example."""
    rows = store.run_answers()
    mine = [tuple(each) == ("tuned", PLAIN) for each in columns_of(rows, "role", "via")]
    tuned = averaged(rows.take(np.flatnonzero(mine)), samples)
    return {
        source: _Answer(hash(prompt), cell, points(outcome, score))
        for source, prompt, cell, outcome, score in columns_of(tuned, *_COMPARED)
    }


_COMPARED = ("source_id", "prompt", "cell", "outcome", "score")


def _recorded(run: _Run) -> HistoryRun:
    return HistoryRun(
        folder=run.folder,
        created=run.results.provenance.created,
        tuned=run.results.tuned.spec,
        overall=_figures(run.results),
        cells={cell.name: _figures(cell) for cell in run.results.cells},
    )


def _figures(found: Results | Cell) -> HistoryFigures:
    plain = found.plain
    return HistoryFigures(
        verdict=found.verdict,
        n=plain.base.n,
        base=plain.base.accuracy,
        tuned=plain.tuned.accuracy,
        fall=plain.forgetting,
        fall_ci95=plain.forgetting_hull95,
    )


def _compared(at: int, one: _Run, other: _Run) -> Iterator[HistoryChange]:
    """Yield the change of each cell that both have, and of all where there are several."""
    shared = sorted(
        source
        for source in one.answers.keys() & other.answers.keys()
        if one.answers[source].prompt == other.answers[source].prompt
    )
    cells: dict[str | None, list[str]] = {}
    for source in shared:
        cells.setdefault(one.answers[source].cell, []).append(source)
    if len(cells) > 1:
        cells = {None: shared, **cells}
    for cell, sources in cells.items():
        before, after = (
            np.array([run.answers[source].score for source in sources]) for run in (one, other)
        )
        found = estimate_forgetting(
            before, after, np.asarray(sources), rng=named_stream(0, f"history {at} {cell}")
        )
        yield HistoryChange(
            cell=cell,
            before=at,
            n=len(sources),
            accuracy_before=float(before.mean()),
            accuracy_after=float(after.mean()),
            n_lost=found.flips.lost,
            n_gained=found.flips.gained,
            p_value=found.p_value,
            p_holm=found.p_value,
            is_clear=False,
        )
