"""Rounds of questions: what is decided is asked no more, and what is open gets the next prompts.

Each cell has an order of its examples, a hash of their names, so that its first n are a fair sample
for every n. The order is kept in the run folder: a run that is continued, or extended by new
examples, goes on where it was, and whatever was looked at before stays valid.

First every cell is asked plainly. Where a fall is clear, every conjugation gets a few of the same
examples. Then a bandit decides: while some conjugation may bring back more than half, the one that
promises most is asked alone, by the upper end of what it may bring; where none does, all that are
open are asked, since a loss has to be shown under each.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import NamedTuple

import numpy as np

from palimpsest.errors import UserError
from palimpsest.files import digest
from palimpsest.judging.pairing import PLAIN, ROLES
from palimpsest.judging.sequential import CellScores, Decision, Weights, decide, weigh
from palimpsest.judging.via import Via
from palimpsest.lm.suites import Suite
from palimpsest.records import (
    THRESHOLDS,
    AnswerRow,
    RunFolder,
    StoredAnswers,
    columns_of,
    points,
)
from palimpsest.stats import Array

FIRST_ROUND = 20
"""Examples of every cell that are asked plainly before anything is decided."""

FIRST_UNDER = 10
"""Examples under each conjugation, once there is a clear fall."""

_GROWTH = 0.25
"""Later rounds are this share of what was asked before: few rounds, and little asked in vain."""

Ask = Callable[[str, Via, Suite, int], Sequence[AnswerRow]]
"""Asks a role's model a part of the suite under one way of asking, in a round."""


class CellTurn(NamedTuple):
    """What a cell is to be asked in a round, counted from the beginning of its order."""

    plain: int
    under: Mapping[str, int]


@dataclass
class CellRun:
    """A cell in the course of a run."""

    name: str
    order: Sequence[str]
    """Its source examples."""
    versions: Mapping[str, Sequence[str]]
    """Those of them that exist under each conjugation, in order."""
    n_plain: int = 0
    n_under: Counter[str] = field(default_factory=Counter)
    decision: Decision = field(default_factory=partial(Decision, None, "ability"))
    n_rounds: int = 0
    """In which it was asked anything."""

    @property
    def is_used_up(self) -> bool:
        """Whether all of its examples have been asked plainly."""
        return self.n_plain == len(self.order)

    def within(self, via: str, n_plain: int) -> int:
        """Return how many of the first examples exist under a conjugation."""
        asked = set(self.order[:n_plain])
        return sum(source in asked for source in self.versions[via])


class Rounds(NamedTuple):
    """All rounds of a run."""

    rows: Sequence[AnswerRow]
    cells: list[CellRun]
    overall: Decision
    """Of all cells together, over the examples that were asked evenly."""
    even: Mapping[str, Sequence[str]]
    """These examples, under each way of asking."""
    n_rounds: int


class _Scored(NamedTuple):
    """What is known of an answer; its texts stay where they are."""

    score: float
    is_intruded: bool
    fidelity: float | None


def joined(parts: Sequence[Sequence[AnswerRow]]) -> Sequence[AnswerRow]:
    """Return the answers of several calls; of stored ones, nothing is read."""
    stored = [part for part in parts if isinstance(part, StoredAnswers)]
    if stored and len(stored) == len(parts):
        return reduce(StoredAnswers.and_then, stored)
    return [row for part in parts for row in part]


class PairedScores:
    """Answers as they come, as scores of paired examples.

    Args:
        min_fidelity: Prompts that come back with a lower chrF do not count, of both models alike.
    """

    def __init__(self, min_fidelity: float) -> None:
        self._min_fidelity = min_fidelity
        self._found: dict[tuple[str, str], dict[str, _Scored]] = {}

    def add(self, rows: Iterable[AnswerRow]) -> None:
        """Take answers of any role and way of asking."""
        read = ("role", "via", "source_id", "outcome", "score", "fidelity")
        for role, via, source, outcome, score, fidelity in columns_of(rows, *read):
            scored = _Scored(points(outcome, score), outcome == "intruded", fidelity)
            self._found.setdefault((role, via), {})[source] = scored

    def counted(self, via: str, sources: Iterable[str]) -> list[str]:
        """Return the sources that both models answered under a way of asking, and plainly."""
        tables = [self._found.get((role, name), {}) for name in {via, PLAIN} for role in ROLES]
        mine = [self._found.get((role, via), {}) for role in ROLES]
        return [
            source
            for source in sources
            if all(source in table for table in tables)
            and all(
                table[source].fidelity is None
                or (table[source].fidelity or 0.0) >= self._min_fidelity
                for table in mine
            )
        ]

    def scores(self, plain: Sequence[str], under: Mapping[str, Sequence[str]]) -> CellScores:
        """Return the scores of examples, plainly and under conjugations."""
        return CellScores(
            self._table((PLAIN,), self.counted(PLAIN, plain)),
            {
                via: self._table((PLAIN, via), self.counted(via, sources))
                for via, sources in under.items()
            },
        )

    def _table(self, ways: Sequence[str], sources: Sequence[str]) -> Array:
        columns = [(role, way) for way in ways for role in ROLES]
        if not sources:
            return np.zeros((0, len(columns)))
        return np.array(
            [[self._found[column][source].score for column in columns] for source in sources]
        )

    def past_inference(self, under: Mapping[str, Sequence[str]]) -> dict[str, bool]:
        """Say under which conjugations the tuned model's errors are mostly no other ability's."""
        found = {}
        for via, sources in under.items():
            mine = [self._found["tuned", via][source] for source in self.counted(via, sources)]
            n_wrong = sum(1 - each.score for each in mine)
            n_intruded = sum(1 - each.score for each in mine if each.is_intruded)
            found[via] = n_intruded <= THRESHOLDS.intruded_at_most * n_wrong
        return found


def ask_in_rounds(
    suite: Suite,
    vias: Sequence[Via],
    ask: Ask,
    *,
    recorded: Mapping[str, Sequence[str]],
    keep: Callable[[Mapping[str, Sequence[str]]], None],
    first_round: int = FIRST_ROUND,
    min_fidelity: float = 0.0,
) -> Rounds:
    """Ask until every cell is decided, or its examples are used up.

    Args:
        suite: What may be asked.
        vias: The conjugations, without the plain way, which comes first in ``plain``.
        ask: Asks; answers on file come at once.
        recorded: The order of the examples that an earlier run in the folder began with, by cell.
        keep: Told the order of all examples, before any of them is asked.
        first_round: Examples of each cell in the first round.
        min_fidelity: Prompts that come back with a lower chrF do not count.

    Raises:
        UserError: No cell has as many examples as the first round asks.
    """
    plain, *others = vias
    names = [via.name for via in others]
    cells = _cells(suite, plain, others, recorded)
    if max(len(cell.order) for cell in cells) < first_round:
        most = max(len(cell.order) for cell in cells)
        raise UserError(
            f"The suite has no more than {most} examples a cell; --until-sure asks {first_round} "
            "in its first round.",
            hint="Leave out --until-sure to ask all of them, or use more examples (--limit).",
        )
    keep({cell.name: cell.order for cell in cells})
    judged, n_rounds = PairedScores(min_fidelity), 0
    told: list[Sequence[AnswerRow]] = []

    def note(rows: Sequence[AnswerRow]) -> None:
        told.append(rows)
        judged.add(rows)

    turns = {cell.name: CellTurn(min(first_round, len(cell.order)), {}) for cell in cells}
    while turns:
        n_rounds += 1
        _ask_turns(suite, plain, others, cells, turns, ask, note, n_rounds)
        scores = [judged.scores(*_asked(cell)) for cell in cells]
        found = weigh(scores, names)
        turns = {}
        for cell, mine, weights in zip(cells, scores, found, strict=True):
            if cell.decision.verdict is None:
                past = judged.past_inference(_asked(cell)[1])
                cell.decision = decide(weights, names, past_inference=past)
            if cell.decision.verdict is None:
                turn = next_turn(cell, mine, weights, names, first_round)
                if turn is not None:
                    turns[cell.name] = turn
    even = _even(cells, names)
    [together] = weigh([judged.scores(even[PLAIN], {name: even[name] for name in names})], names)
    past = judged.past_inference({name: even[name] for name in names})
    overall = decide(together, names, past_inference=past)
    return Rounds(joined(told), cells, overall, even, n_rounds)


_ORDER = "rounds.json"


def read_order(folder: RunFolder) -> dict[str, list[str]]:
    """Return the order of the examples that an earlier run in the folder kept; empty at first."""
    if not (folder.path / _ORDER).exists():
        return {}
    try:
        order = json.loads(folder.read_text(_ORDER))["order"]
        return {str(cell): [str(source) for source in mine] for cell, mine in order.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"'{folder.path / _ORDER}' does not hold the order of a run in rounds.",
            hint="Choose another folder with --out: without that order the run cannot go on "
            "where it was.",
        ) from error


def write_order(folder: RunFolder, order: Mapping[str, Sequence[str]]) -> None:
    """Keep the order of the examples, by cell."""
    folder.write_json(_ORDER, {"order": {cell: list(mine) for cell, mine in order.items()}})


def _cells(
    suite: Suite, plain: Via, vias: Sequence[Via], recorded: Mapping[str, Sequence[str]]
) -> list[CellRun]:
    there = {via.name: {each.source_id for each in via.examples(suite)} for via in vias}
    sources: dict[str, list[str]] = {name: [] for name in suite.cells}
    for example in plain.examples(suite):
        sources[example.cell].append(example.source_id)
    cells = []
    for name, mine in sources.items():
        known, left = recorded.get(name, ()), set(mine)
        first = [source for source in known if source in left]
        rest = sorted(left - set(first), key=lambda source: digest(f"palimpsest round {source}"))
        order = [*first, *rest]
        versions = {via: [s for s in order if s in there[via]] for via in there}
        cells.append(CellRun(name, order, versions))
    return [cell for cell in cells if cell.order]


def _asked(cell: CellRun) -> tuple[Sequence[str], dict[str, Sequence[str]]]:
    """Return what has been asked in a cell, plainly and under each conjugation."""
    under = {via: order[: cell.n_under[via]] for via, order in cell.versions.items()}
    return cell.order[: cell.n_plain], under


def _ask_turns(
    suite: Suite,
    plain: Via,
    vias: Sequence[Via],
    cells: Sequence[CellRun],
    turns: Mapping[str, CellTurn],
    ask: Ask,
    note: Callable[[Sequence[AnswerRow]], None],
    number: int,
) -> None:
    """Ask both models what the turns say, all cells together for each way of asking."""
    wanted: dict[str, set[str]] = {via.name: set() for via in (plain, *vias)}
    for cell in cells:
        if cell.name not in turns:
            continue
        turn = turns[cell.name]
        wanted[plain.name].update(cell.order[cell.n_plain : turn.plain])
        for name, n in turn.under.items():
            wanted[name].update(cell.versions[name][cell.n_under[name] : n])
            cell.n_under[name] = n
        cell.n_plain = turn.plain
        cell.n_rounds += 1
    for role in ROLES:
        for via in (plain, *vias):
            if wanted[via.name]:
                note(ask(role, via, _part(suite, wanted[via.name]), number))


def _part(suite: Suite, sources: set[str]) -> Suite:
    return replace(suite, examples=tuple(e for e in suite.examples if e.source_id in sources))


def next_turn(
    cell: CellRun,
    scores: CellScores,
    weights: Weights,
    vias: Sequence[str],
    first_round: int = FIRST_ROUND,
) -> CellTurn | None:
    """Return what an undecided cell is asked next; ``None`` where nothing is left that could help.

    Args:
        cell: What it has been asked.
        scores: What came of it.
        weights: The evidence in it.
        vias: The conjugations.
        first_round: Examples of the first round.
    """
    more = min(len(cell.order), cell.n_plain + max(first_round // 2, _grown(cell.n_plain)))
    if cell.decision.why != "recovery":
        return None if cell.is_used_up else CellTurn(more, {})
    chosen = [via for via in vias if not cell.n_under[via] and cell.versions[via]]
    chosen = chosen or _promising(cell, scores, weights, vias)
    wanted = {
        via: cell.n_under[via] + max(FIRST_UNDER, _grown(cell.n_under[via])) for via in chosen
    }
    fits = all(n <= cell.within(via, cell.n_plain) for via, n in wanted.items())
    n_plain = cell.n_plain if fits else more
    under = {via: min(n, cell.within(via, n_plain)) for via, n in wanted.items()}
    under = {via: n for via, n in under.items() if n > cell.n_under[via]}
    return CellTurn(n_plain, under) if under or n_plain > cell.n_plain else None


def _grown(n: int) -> int:
    return math.ceil(_GROWTH * n)


def _promising(
    cell: CellRun, scores: CellScores, weights: Weights, vias: Sequence[str]
) -> list[str]:
    """Return the conjugations that are worth asking next, of those that have examples left."""
    enough = math.log(2 / THRESHOLDS.alpha)
    together = enough + math.log(len(vias))
    left = [via for via in vias if cell.n_under[via] < len(cell.versions[via])]
    at = {via: k for k, via in enumerate(vias)}
    hopeful = {
        via: _optimistic(scores.under[via])
        for via in left
        if weights.less_than_half[at[via]] < together
    }
    if any(_beyond_half(scores.under[via]).sum() >= 0 for via in hopeful):
        return [max(hopeful, key=lambda via: hopeful[via])]
    open_ = [via for via in left if weights.unable[at[via]] < together]
    much = [via for via in open_ if weights.less_than_quarter[at[via]] < enough]
    return much or [via for via in open_ if weights.able[at[via]] < together]


def _beyond_half(table: Array) -> Array:
    """Return by how much more than half of each example's fall comes back."""
    base, tuned, _, tuned_under = table.T
    share = THRESHOLDS.suppressed_above
    beyond: Array = tuned_under - (1 - share) * tuned - share * base
    return beyond


def _optimistic(table: Array) -> float:
    """Return the mean of that, and a standard error more."""
    beyond = _beyond_half(table)
    if not len(beyond):
        return math.inf
    return float(beyond.mean() + (beyond.std() + 0.1) / math.sqrt(len(beyond)))


def _even(cells: Sequence[CellRun], vias: Sequence[str]) -> dict[str, list[str]]:
    """Return as many examples of each cell as all of them have been asked, by their size.

    What is said of all cells together must not depend on which of them was decided late.
    """

    def first(orders: Sequence[Sequence[str]], numbers: Sequence[int]) -> list[str]:
        shares = [n / len(order) for order, n in zip(orders, numbers, strict=True) if len(order)]
        share = min(shares, default=0.0)
        return [s for order in orders for s in order[: math.floor(share * len(order) + 1e-9)]]

    even = {PLAIN: first([cell.order for cell in cells], [cell.n_plain for cell in cells])}
    asked = set(even[PLAIN])
    for via in vias:
        orders = [cell.versions[via] for cell in cells]
        found = first(orders, [cell.n_under[via] for cell in cells])
        even[via] = [source for source in found if source in asked]
    return even
