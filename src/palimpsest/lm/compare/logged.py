"""What a log of an evaluation says, whoever wrote it: one model's scored answers to some items."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from palimpsest.errors import UserError
from palimpsest.lm.translators.languages import base_language, is_language
from palimpsest.records.answers import Outcome

MOST_ITEMS = 1_000_000
"""Answers of one model that are read."""

MOST_CHARACTERS = 8_000
"""Of one prompt or answer that is kept for the report; a longer one loses its middle."""

MOST_CHARACTERS_TOGETHER = 64 * 2**20
"""Of all texts of one model; what comes after them is compared, but not shown."""


LANGUAGE_FIELDS = ("lang", "language")
"""Fields that say in which language an item is."""


class Scale(NamedTuple):
    """What the metric calls worst and best, which become 0 and 1.

    Example:
        >>> Scale(0, 100).fraction(25), Scale(10, 0).fraction(10)
        (0.25, 0.0)
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
    """The field that says in which language an item is; by default :data:`LANGUAGE_FIELDS`, where
    they hold the code of one."""

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
    """On the metric's own scale."""
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


class Collector:
    """Gathers the samples of a run, checks them, and keeps no more text than is shown.

    Args:
        options: How the log is read.
    """

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._tasks: dict[tuple[str, str | None], LoggedTask] = {}
        self._places: dict[tuple[str, str | None, str, str], str] = {}
        self._n_left = MOST_CHARACTERS_TOGETHER
        self._n_clipped = 0

    @property
    def tasks(self) -> tuple[LoggedTask, ...]:
        """What has been gathered."""
        return tuple(self._tasks.values())

    @property
    def notes(self) -> list[str]:
        """Say so where texts were left out."""
        if self._n_left > 0:
            return []
        return [
            "The logs are long: the texts of their last answers are compared, but not shown in "
            "the report."
        ]

    def add(
        self, task: str, sample: Sample, *, metric: str, place: str, language: str | None = None
    ) -> None:
        """Add one answer.

        Args:
            task: What it belongs to.
            sample: The answer.
            metric: What its score is called.
            place: File and line, for messages.
            language: Of the item, where the log says it.

        Raises:
            UserError: The same answer again, another item under the same key, a score beyond the
                scale, or too many answers.
        """
        score = self._fraction(sample, metric, place)
        self._check_new(task, language, sample, place)
        known = self._tasks.setdefault((task, language), LoggedTask(task, metric, language))
        item = known.items.get(sample.key)
        if item is None:
            item = known.items[sample.key] = LoggedItem(self._shortened(sample))
        elif item.first.item_hash != sample.item_hash:
            raise UserError(
                f"{place}: '{sample.key}' of {task} is another item here than in an earlier epoch.",
                hint="An id must stand for one item; choose other fields with --key.",
            )
        item.scores.append(score)
        item.n_intruded += sample.outcome == "intruded"

    def _fraction(self, sample: Sample, metric: str, place: str) -> float:
        scale = self._options.scale
        score = scale.fraction(sample.score) if math.isfinite(sample.score) else math.nan
        if not -1e-9 <= score <= 1 + 1e-9:
            raise UserError(
                f"{place}: '{metric}' is {sample.score:g}; expected a number from {scale.worst:g} "
                f"to {scale.best:g}.",
                hint="Say what worst and best are, such as --range 0,100, or --range 10,0 where "
                "less is better; or choose another score with --metric.",
            )
        return min(1.0, max(0.0, score))

    def _check_new(self, task: str, language: str | None, sample: Sample, place: str) -> None:
        key = (task, language, sample.key, sample.epoch)
        earlier = self._places.setdefault(key, place)
        if earlier != place:
            epoch = "" if sample.epoch == "1" else f", epoch {sample.epoch},"
            raise UserError(
                f"{place}: '{sample.key}'{epoch} of {task} was answered before, at {earlier}.",
                hint="Each item may come once in a run. If the id does not identify it, choose "
                "the fields that do with --key.",
            )
        if len(self._places) > MOST_ITEMS:
            raise UserError(
                f"{place}: more than {MOST_ITEMS:,} answers; so many are not compared at once.",
                hint="Compare a few tasks at a time.",
            )

    def _shortened(self, sample: Sample) -> Sample:
        """Return the sample with what of its texts is kept for the report."""
        texts = [sample.prompt, sample.raw, sample.answer, sample.target]
        kept = [_clipped(text) for text in texts] if self._n_left > 0 else [""] * len(texts)
        self._n_left -= sum(map(len, kept))
        prompt, raw, answer, target = kept
        chance = sample.chance if self._options.chance is None else self._options.chance
        return sample._replace(prompt=prompt, raw=raw, answer=answer, target=target, chance=chance)


def as_number(value: Any) -> float | None:
    """Return a number, or a truth value as 0 or 1, as a float; ``None`` for anything else.

    Example:
        >>> as_number(True), as_number(10**400), as_number("1")
        (1.0, inf, None)
    """
    if not isinstance(value, bool | int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def digest(*parts: Any) -> str:
    """Return a short hash of texts and of whatever JSON can write.

    Example:
        >>> digest("a", 1) == digest("a", 1) != digest("a1")
        True
    """
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_field(fields: Mapping[str, Any], path: str) -> Any:
    """Return a field by its name, or by names joined by dots that lead into it; else ``None``.

    Example:
        >>> find_field({"doc": {"id": 7}, "a.b": 1}, "doc.id"), find_field({"a.b": 1}, "a.b")
        (7, 1)
    """
    if path in fields:
        return fields[path]
    head, dot, rest = path.partition(".")
    below = fields.get(head)
    return find_field(below, rest) if dot and isinstance(below, Mapping) else None


def language_of(fields: Mapping[str, Any], options: LogOptions) -> str | None:
    """Return the language of an item, if its fields say it.

    Example:
        >>> language_of({"lang": "fr"}, LogOptions()), language_of({"lang": "rust"}, LogOptions())
        ('fr', None)
    """
    if options.language is not None:
        value = find_field(fields, options.language)
        return None if value in (None, "") else str(value)
    said = [fields.get(name) for name in LANGUAGE_FIELDS]
    return next((one for one in said if isinstance(one, str) and _is_code(one)), None)


def _is_code(text: str) -> bool:
    return is_language(base_language(text))


def key_of(fields: Mapping[str, Any], options: LogOptions, place: str) -> str:
    """Return the key of an item by the fields that the user chose.

    Raises:
        UserError: One is missing.
    """
    values = []
    for name in options.key:
        value = find_field(fields, name)
        if value is None or value == "":
            raise UserError(
                f"{place}: no field '{name}', which --key asks for.",
                hint=f"There are: {', '.join(map(str, fields))}.",
            )
        values.append(value if isinstance(value, str) else json.dumps(value, default=str))
    return " / ".join(values)


def _clipped(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters …]\n{text[-half:]}"
