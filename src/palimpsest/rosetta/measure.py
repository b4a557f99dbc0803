"""Measure Rosetta: accuracy and errors by language and cell, for one checkpoint or for many."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from palimpsest.judging.evaluate import Progress, evaluate
from palimpsest.judging.via import parse_via
from palimpsest.lm.models.specs import load_model
from palimpsest.records.store import AnswerStore
from palimpsest.rosetta.grammar import Split
from palimpsest.rosetta.suite import build, build_instructions


class Shares(BaseModel):
    """Shares of the outcomes in one cell and language."""

    n: int
    right: float
    intruded: float
    broken: float


Table = dict[str, dict[str, Shares]]
"""Language to cell to shares; the cells include ``instruction/math`` and ``instruction/blank``."""


class CurvePoint(BaseModel):
    """One checkpoint of the tuning."""

    step: int
    """Tuning steps; 0 is the base model."""
    held_out_loss: float
    """Loss on held-out English instructions, nats per token of the completion."""
    table: Table


class MeanShares(NamedTuple):
    """Means over cells with equal weight."""

    right: float
    intruded: float


def measure(
    checkpoint: Path,
    store: AnswerStore,
    *,
    n: int,
    split: Split,
    progress: Progress | None = None,
) -> Table:
    """Return the table of one checkpoint, on ``n`` prompts a cell and language of a split."""
    model = load_model(f"hf:{checkpoint}")
    table: defaultdict[str, dict[str, Shares]] = defaultdict(dict)
    with closing(model):
        for suite in (build(n=n, split=split), build_instructions(n=n, split=split)):
            vias = [parse_via(f"native:{language}", suite) for language in suite.languages]
            rows = evaluate(
                model, suite, vias, store=store, role=checkpoint.name, progress=progress
            )
            counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
            for row in rows:
                counts[row.language, row.cell][row.outcome] += 1
            for (language, cell), outcomes in counts.items():
                table[language][cell] = _shares(outcomes)
    return dict(table)


def mean_shares(cells: Mapping[str, Shares], *, kind: str = "in-context") -> MeanShares:
    """Return the mean over the cells of one kind: ``in-context`` or ``instruction``."""
    chosen = [
        shares
        for cell, shares in cells.items()
        if cell.startswith("instruction/") == (kind == "instruction")
    ]
    return MeanShares(
        right=sum(s.right for s in chosen) / len(chosen),
        intruded=sum(s.intruded for s in chosen) / len(chosen),
    )


def _shares(outcomes: Counter[str]) -> Shares:
    n = outcomes.total()
    return Shares(
        n=n,
        right=outcomes["right"] / n,
        intruded=outcomes["intruded"] / n,
        broken=outcomes["broken"] / n,
    )
