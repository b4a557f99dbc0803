r"""Populations of examples that simulated runs are drawn from: a pilot's, or an assumed one.

A population is a list of patterns, each with its share: how both models answer an example plainly
and under every conjugation. Examples are drawn whole, so that whatever goes together in a pilot
(base and tuned model, languages, conjugations, graded scores) does in the simulated runs.

An assumed population has the answers of the simulations in ``docs/verdicts.md``: each answer is
decided either by the difficulty u of its example, which all answers share, or by luck of its own,

.. math:: P(\text{right} \mid u) = ρ\,[u < a] + (1 - ρ)\,a, \qquad u \sim U(0, 1)

for an answer of accuracy a. Between two accuracies the probabilities do not change with u, so the
shares of the patterns are exact.

To another truth (a smaller fall, less recovery) a population is moved by changing as many answers
as it takes and no others.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from palimpsest.judging.pairing import PLAIN, AnswerTable
from palimpsest.records import AnswerRow, Outcome
from palimpsest.stats import N_PSEUDO, Array

BASE, TUNED = 0, 1
"""Columns of the plain answers; those under conjugation k follow as 2k + 2 and 2k + 3."""

_N_CORNERS = 256
"""Patterns that imaginary examples are spread over, where all could not be listed."""

_N_FIRST = 20_000
"""Simulated runs are named from so many numbers on, so that their halves differ."""

_RIGHT, _INTRUDED, _BROKEN = 0, 1, 2
_OUTCOMES: tuple[Outcome, ...] = ("right", "intruded", "broken")


class WayOfAsking(NamedTuple):
    """What the analysis must know of a conjugation that nobody asks."""

    name: str
    exact: bool = True
    keeps: str = ""
    native: bool | None = None


@dataclass(frozen=True, eq=False)
class Population:
    """Patterns of answers with their shares."""

    vias: tuple[str, ...]
    """Conjugations, in the order of the columns."""

    scores: Array
    """(n_patterns, 2 + 2 · n_vias), from 0 to 1."""

    outcomes: npt.NDArray[np.int8]
    """The same shape: indices of right, intruded, broken."""

    shares: Array
    """(n_patterns,); they sum to one."""

    def mean(self, column: int) -> float:
        """Return the accuracy in a column."""
        return float(self.shares @ self.scores[:, column])

    @property
    def base(self) -> float:
        """Accuracy of the base model, asked plainly."""
        return self.mean(BASE)

    @property
    def fall(self) -> float:
        """Base − tuned accuracy, asked plainly."""
        return self.mean(BASE) - self.mean(TUNED)

    def recovery(self, via: str) -> float | None:
        """Return the share of the fall that a conjugation brings back; ``None`` without a fall."""
        if self.fall <= 1e-9:
            return None
        return (self.mean(self.tuned_under(via)) - self.mean(TUNED)) / self.fall

    def tuned_under(self, via: str) -> int:
        """Return the column of the tuned model's answers under a conjugation."""
        return 2 * self.vias.index(via) + 3

    def plainly(self) -> Population:
        """Return the population without its conjugations."""
        scores, outcomes = self.scores[:, : TUNED + 1], self.outcomes[:, : TUNED + 1]
        return replace(self, vias=(), scores=scores, outcomes=outcomes)

    def with_fall(self, fall: float) -> Population:
        """Return the population with another fall: fewer answers lost, or more.

        What is not lost after all is answered as the base model does. Answers under conjugations
        stay, so recoveries change: set them afterwards.
        """
        base, tuned = self.scores[:, BASE], self.scores[:, TUNED]
        excess = self.fall - fall
        if excess > 0:
            lost = np.clip(base - tuned, 0, None)
            return self._moved(
                TUNED, np.flatnonzero(lost), BASE, excess / float(self.shares @ lost)
            )
        if excess < 0:
            return self._moved(TUNED, np.flatnonzero(tuned), None, -excess / self.mean(TUNED))
        return self

    def with_recovery(self, via: str, recovery: float) -> Population:
        """Return the population with another recovery under a conjugation, from 0 to 1."""
        column = self.tuned_under(via)
        base, tuned, under = (self.scores[:, each] for each in (BASE, TUNED, column))
        excess = self.mean(column) - self.mean(TUNED) - recovery * self.fall
        if excess > 0:
            gained = np.clip(under - tuned, 0, None)
            share = excess / float(self.shares @ gained)
            return self._moved(column, np.flatnonzero(gained), TUNED, share)
        if excess < 0:
            missing = np.clip(base - under, 0, None) * (base > tuned)
            share = -excess / max(float(self.shares @ missing), 1e-12)
            moved = self._moved(column, np.flatnonzero(missing), BASE, min(share, 1.0))
            return moved if share <= 1 else moved._lifted(column, self.mean(TUNED), recovery)
        return self

    def _lifted(self, column: int, tuned: float, recovery: float) -> Population:
        """Make other wrong answers right, where the lost ones alone do not bring back enough."""
        missing = 1 - self.scores[:, column]
        share = (tuned + recovery * self.fall - self.mean(column)) / float(self.shares @ missing)
        if share <= 1e-9:
            return self
        perfect = replace(self, scores=np.column_stack([self.scores, np.ones(len(self.scores))]))
        perfect = replace(
            perfect, outcomes=np.column_stack([self.outcomes, np.full(len(self.scores), _RIGHT)])
        )
        last = self.scores.shape[1]
        moved = perfect._moved(column, np.flatnonzero(missing), last, min(share, 1.0))
        return replace(moved, scores=moved.scores[:, :last], outcomes=moved.outcomes[:, :last])

    def _moved(
        self, column: int, where: npt.NDArray[np.intp], source: int | None, share: float
    ) -> Population:
        """Return the population in which a share of some patterns answers as in another column.

        What is no longer right is broken; with no column to answer from, all of it is wrong.
        """
        scores, outcomes = self.scores[where].copy(), self.outcomes[where].copy()
        if source is None:
            scores[:, column], outcomes[:, column] = 0.0, _BROKEN
        else:
            scores[:, column] = scores[:, source]
            outcomes[:, column] = np.where(scores[:, source] == 1, _RIGHT, _BROKEN)
        shares = self.shares.copy()
        shares[where] *= 1 - share
        return replace(
            self,
            scores=np.concatenate([self.scores, scores]),
            outcomes=np.concatenate([self.outcomes, outcomes]),
            shares=np.concatenate([shares, self.shares[where] * share]),
        )

    def draw(self, n: int, rng: np.random.Generator) -> DrawnAnswers:
        """Return the answers of both models to ``n`` examples."""
        drawn = np.minimum(
            np.searchsorted(self._cumulated, rng.random(n), side="right"), len(self.shares) - 1
        )
        return DrawnAnswers(self, drawn, first=int(rng.integers(_N_FIRST)))

    @cached_property
    def _cumulated(self) -> Array:
        cumulated: Array = np.cumsum(self.shares)
        cumulated /= cumulated[-1]
        return cumulated


class DrawnAnswers:
    """Answers to examples that were drawn from a population; they have scores and no texts.

    Args:
        population: What they are drawn from.
        drawn: The pattern of each example.
        first: The number that names the first example; the others follow.
    """

    def __init__(self, population: Population, drawn: npt.NDArray[np.intp], *, first: int) -> None:
        self._population = population
        self._drawn = drawn
        self._first = first
        self.sources = [f"{first + i:06d}" for i in range(len(drawn))]
        self._columns = {PLAIN: BASE}
        self._columns |= {via: 2 * k + 2 for k, via in enumerate(population.vias)}

    def paired(self, via: str) -> list[str]:
        """Return all sources."""
        return self.sources if via in self._columns else []

    def excluded(self, via: str) -> set[str]:
        """Return none."""
        return set()

    def shared(self, via: str, sources: Sequence[str]) -> list[str]:
        """Return all of the sources."""
        return list(sources) if via in self._columns else []

    def n_excluded(self, via: str, sources: Sequence[str]) -> int:
        """Return none."""
        return 0

    def n_attempted(self, role: str, via: str, sources: Sequence[str]) -> int:
        """Return none: that is told by texts."""
        return 0

    def rows(self, role: str, via: str, sources: Sequence[str]) -> list[AnswerRow]:
        """Return none: there are no texts."""
        return []

    def _places(
        self, role: str, via: str, sources: Sequence[str]
    ) -> tuple[npt.NDArray[np.intp], int]:
        """Return the patterns of the sources, and the column of their answers."""
        column = self._columns[via] + (role == "tuned")
        if len(sources) == len(self.sources):
            return self._drawn, column
        return self._drawn[[int(source) - self._first for source in sources]], column

    def outcomes(self, role: str, via: str, sources: Sequence[str]) -> list[Outcome]:
        """Return how a model's answers were scored."""
        picked = self._population.outcomes[self._places(role, via, sources)]
        return [_OUTCOMES[each] for each in picked.tolist()]

    def scores(self, role: str, via: str, sources: Sequence[str]) -> Array:
        """Return the score of each answer."""
        picked: Array = self._population.scores[self._places(role, via, sources)]
        return picked

    def flags(self, role: str, via: str, sources: Sequence[str]) -> dict[str, int]:
        """Return none: nobody looks at answers without a text."""
        return {}

    def mean_of(
        self,
        field: Literal["round_trip", "fidelity", "survival"],
        via: str,
        sources: Sequence[str],
    ) -> float | None:
        """Return nothing: no prompt was conjugated."""
        return None


def assumed_population(
    accuracies: Sequence[tuple[float, float]], vias: Sequence[str], *, shared: float = 0.5
) -> Population:
    """Return the population in which both models have given accuracies.

    Args:
        accuracies: Of base and tuned model, plainly and then under each conjugation.
        vias: The conjugations.
        shared: The share ρ of answers that the difficulty of the example decides.

    Example:
        >>> found = assumed_population([(0.9, 0.8), (0.9, 0.86)], ["s"])
        >>> round(found.base, 9), round(found.fall, 9), round(found.recovery("s") or 0, 9)
        (0.9, 0.1, 0.6)
    """
    flat = np.array([each for pair in accuracies for each in pair])
    patterns = np.array(list(itertools.product((0.0, 1.0), repeat=len(flat))))
    ends = np.unique([0.0, *flat, 1.0])
    shares = np.zeros(len(patterns))
    for low, high in itertools.pairwise(ends):
        right = shared * (low < flat) + (1 - shared) * flat
        shares += (high - low) * np.prod(np.where(patterns == 1, right, 1 - right), axis=1)
    there = shares > 0
    outcomes = np.where(patterns == 1, _RIGHT, _BROKEN).astype(np.int8)
    return Population(tuple(vias), patterns[there], outcomes[there], shares[there])


def pilot_population(
    answers: AnswerTable, sources: Sequence[str], vias: Sequence[str]
) -> Population:
    """Return the population that a pilot is a sample of, as far as it tells.

    Each of its examples stands for as much as any other, and two imaginary ones, spread over all
    patterns of right and wrong, for what so few examples did not show (as in the bootstrap).

    Args:
        answers: Of the pilot.
        sources: Those of its examples to plan for, answered under every via.
        vias: Conjugations.
    """
    columns = [(role, via) for via in (PLAIN, *vias) for role in ("base", "tuned")]
    scores = np.column_stack([answers.scores(*column, sources) for column in columns])
    index: Mapping[Outcome, int] = {name: at for at, name in enumerate(_OUTCOMES)}
    outcomes = np.column_stack(
        [[index[each] for each in answers.outcomes(*column, sources)] for column in columns]
    )
    corners = _corners(len(columns))
    n_real, n_all = len(scores), len(scores) + N_PSEUDO
    return Population(
        tuple(vias),
        np.concatenate([scores, corners]),
        np.concatenate([outcomes, np.where(corners == 1, _RIGHT, _BROKEN)]).astype(np.int8),
        np.concatenate(
            [np.full(n_real, 1 / n_all), np.full(len(corners), N_PSEUDO / n_all / len(corners))]
        ),
    )


def _corners(n_columns: int) -> Array:
    """Return patterns of zeros and ones, with as many of either in each column."""
    if 2**n_columns <= _N_CORNERS:
        return np.array(list(itertools.product((0.0, 1.0), repeat=n_columns)))
    tossed = np.random.default_rng(0).integers(0, 2, size=(_N_CORNERS // 2, n_columns))
    return np.concatenate([tossed, 1 - tossed]).astype(np.float64)
