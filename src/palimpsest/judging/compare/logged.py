"""Scored answers of one model to some items, as a log has them, whoever wrote it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from palimpsest.files import digest
from palimpsest.records import Outcome


class Scale(NamedTuple):
    """What the metric calls worst and best, which become 0 and 1.

    Example:
        >>> Scale(0, 100).fraction(25), Scale(10, 0).fraction(4)
        (0.25, 0.6)
    """

    worst: float = 0.0
    best: float = 1.0

    def fraction(self, value: float) -> float:
        """Return where a value lies between worst and best."""
        return (value - self.worst) / (self.best - self.worst)


@dataclass(frozen=True)
class LogOptions:
    """How a log is read."""

    metrics: tuple[str, ...] = ()
    """Of several, the first that a task has; by default the first that has a number an item."""

    key: tuple[str, ...] = ()
    """The fields that identify an item, in place of its id; a dot leads into a field."""

    language: str | None = None
    """The field that says in which language an item is; by default ``lang`` or ``language``,
    where they hold the code of one."""

    filter: str | None = None
    """Of lm-evaluation-harness: the filter whose rows count; by default the first."""

    scale: Scale = field(default_factory=Scale)
    """Of the metric."""

    chance: float | None = None
    """The accuracy of guessing every item; by default what the log says of its choices."""

    complete: bool = True
    """Whether a log that broke off, or an item without a score, is refused."""


class Sample(NamedTuple):
    """One answer as a log has it."""

    key: str
    """Identifies the item within its task and language."""
    score: float
    """On the metric's own scale; NaN where the log has none."""
    item_hash: str = ""
    """Of all that makes the item: equal hashes, equal items. Empty where the log does not say."""
    prompt_hash: str = ""
    """Of the prompt as sent, worked examples included. Empty likewise."""
    epoch: str = "1"
    """Which of several answers to the same item."""
    chance: float | None = None
    """Of guessing it right."""
    prompt: str = ""
    raw: str = ""
    """What the model said."""
    answer: str = ""
    """What of it was scored."""
    target: str = ""
    outcome: Outcome | None = None
    """Where the log tells whose answer a wrong one is."""
    finish: str = "logged"


@dataclass
class LoggedItem:
    """One item with a model's answers to it, several where there are several epochs."""

    first: Sample
    scores: list[float] = field(default_factory=list)
    """Of each epoch, from 0 to 1."""
    n_intruded: int = 0

    @property
    def score(self) -> float:
        """The mean over the epochs."""
        return math.fsum(self.scores) / len(self.scores)

    @property
    def outcome(self) -> Outcome:
        """Right if all epochs are, else what most of the wrong ones are."""
        if self.score == 1:
            return "right"
        n_wrong = sum(score < 1 for score in self.scores)
        return "intruded" if 2 * self.n_intruded > n_wrong else "broken"


@dataclass(frozen=True)
class LoggedTask:
    """A model's answers to one task."""

    name: str
    metric: str
    language: str | None = None
    """Where the log itself says it."""
    items: dict[str, LoggedItem] = field(default_factory=dict)
    """By key, in the order of the log."""
    unscored: dict[str, str] = field(default_factory=dict)
    """Items of which some answer has no score, which are therefore in none of :attr:`items`, with
    the reason."""

    @property
    def says_abilities(self) -> bool:
        """Whether the log tells wrong answers apart, as intruded or broken."""
        return any(item.first.outcome is not None for item in self.items.values())


@dataclass(frozen=True)
class LoggedRun:
    """A model's answers to some tasks."""

    name: str
    """As the user wrote it."""
    kind: str
    """Whose log it is."""
    model: str
    """What the log calls the model; the name of the log where it does not."""
    fingerprint: str
    """A hash of the log."""
    tasks: tuple[LoggedTask, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else the log says of the run."""
    notes: tuple[str, ...] = ()
    """What to know before trusting it."""


def digest_of(*parts: Any) -> str:
    """Return a short hash of texts and of whatever JSON can write.

    Example:
        >>> digest_of("a", 1) == digest_of("a", 1) != digest_of("a1")
        True
    """
    return digest(json.dumps(parts, sort_keys=True, default=str))
