"""Wrong answers that something else than a loss explains: ten of them, for the reader to judge."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from palimpsest.records import THRESHOLDS, columns_of, taken
from palimpsest.report.text import clipped

if TYPE_CHECKING:
    from palimpsest.records import AnswerRow, Cell, Looked, Results

MOST_SHOWN = 10

_MOST_CHARACTERS = 600


class Suspect(NamedTuple):
    """One such answer."""

    found: str
    """What explains it."""
    via: str
    prompt: str
    """As it was sent."""
    expected: str
    answer: str
    """Of the tuned model, inverted; in a log, all that it said."""


def suspects(results: Results, rows: Sequence[AnswerRow]) -> list[Suspect]:
    """Return up to ten answers, where they explain so much of a fall that a warning says it."""
    wanted = {
        (via, source): found
        for via, looked in _looked(results)
        for source, found in looked.examples.items()
    }
    if not wanted:
        return []
    columns = columns_of(rows, "role", "via", "source_id")
    at = {
        (via, source): place
        for place, (role, via, source) in enumerate(columns)
        if role == "tuned" and (via, source) in wanted
    }
    chosen = [each for each in wanted if each in at][:MOST_SHOWN]
    shown = taken(rows, np.array([at[each] for each in chosen], np.intp))
    return [_suspect(wanted[each], row) for each, row in zip(chosen, shown, strict=True)]


def _looked(results: Results) -> Iterator[tuple[str, Looked]]:
    scopes: list[Results | Cell] = [results, *results.cells]
    for scope in scopes:
        vias = [("identity", scope.plain.looked)]
        vias += [(one.name, one.looked) for one in scope.conjugations]
        for via, looked in vias:
            said_from = THRESHOLDS.explained_said_from * scope.plain.forgetting
            if looked is not None and looked.explained >= said_from:
                yield via, looked


def _suspect(found: str, row: AnswerRow) -> Suspect:
    return Suspect(
        found=found,
        via=row.via,
        prompt=clipped(row.prompt, _MOST_CHARACTERS),
        expected=" | ".join(json.loads(row.right_answers)),
        answer=clipped(row.raw if row.finish == "logged" else row.answer, _MOST_CHARACTERS),
    )
