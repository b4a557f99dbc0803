"""The schema of ``plan.json``: how many prompts a verdict takes, what they show, what they cost.

Accuracies, falls, probabilities and intervals are fractions. Probabilities are shares of simulated
runs; an interval beside one is Wilson's over the runs: the Monte-Carlo error, and nothing else.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from palimpsest.records.results import Interval, Record, Verdict

PLAN: Final = "palimpsest.plan/1"


class Assumed(Record):
    """What is taken for true."""

    pilot: str | None
    """The run folder that it comes from; null for assumptions."""
    n_pilot: int | None = None
    """Examples of the pilot."""
    cell: str | None = None
    """The pilot's cell that is planned for; null for all of them together."""
    n_cells: int = 1
    base: float
    """Accuracy of the base model, asked plainly."""
    fall: float
    """Base − tuned, asked plainly."""
    fall_ci95: Interval | None = None
    """As the pilot tells it."""
    recovery: float | None
    """Share of the fall that the best conjugation brings back; null without a fall."""
    best: str | None = None
    """The conjugation that does."""
    vias: list[str]
    """The conjugations that are asked."""
    scoring: Literal["binary", "graded"] = "binary"


class PlannedPoint(Record):
    """How simulated runs with one number of prompts end."""

    n: int
    """Prompts a cell."""
    probability: float
    """Share of the runs with the verdict that is planned for."""
    ci95: Interval
    """Wilson interval of it over the runs."""
    verdicts: dict[str, float]
    """Share of the runs with each verdict."""


class Needed(Record):
    """How many prompts a cell give a verdict with some probability."""

    probability: float
    n: int | None
    """Null where the largest number that was simulated does not."""
    ci95: tuple[int | None, int | None]
    """Numbers between which it lies, by the Monte-Carlo error; an end is null if beyond all that
    were simulated."""


class PlannedVerdict(Record):
    """What one verdict takes, if what it says is true."""

    verdict: Verdict
    is_assumed: bool
    """Whether it is what the assumptions amount to; of the others, the nearest truth is planned."""
    base: float
    fall: float
    recovery: float | None
    """Of the best conjugation."""
    points: list[PlannedPoint]
    """By number of prompts, ascending."""
    needed: list[Needed]
    otherwise: str | None
    """Where it is not reached: what most of the largest runs say instead."""


class SmallestFall(Record):
    """The smallest fall that so many prompts would clearly show with 80 % probability."""

    n: int
    """Prompts a cell."""
    fall: float | None
    """Null where even the largest possible fall would not be shown."""
    ci95: tuple[float | None, float | None]
    """By the Monte-Carlo error; an end is null if beyond the largest possible fall."""


class PlannedCost(Record):
    """What a run takes for each prompt a cell, over all cells, both models and all ways."""

    n_questions: float
    """Answers."""
    n_prompt_tokens: float | None
    """Null where the pilot's back ends do not count them."""
    n_answer_tokens: float | None
    usd: float | None
    """By the price table; null without one."""
    seconds: float | None
    """As long as the pilot took for as many; null where it did not ask all of its answers anew."""


class EvaluationPlan(Record):
    """A whole plan."""

    schema_: Literal["palimpsest.plan/1"] = Field(default=PLAN, alias="schema")
    assumed: Assumed
    verdicts: list[PlannedVerdict]
    smallest_falls: list[SmallestFall]
    cost: PlannedCost
    n_runs: int
    """Simulated runs for each number of prompts."""
    n_resamples: int
    seed: int
    notes: list[str] = Field(default_factory=list)

    def to_json(self) -> str:
        """Return the text of ``plan.json``."""
        return self.model_dump_json(by_alias=True, indent=2)
