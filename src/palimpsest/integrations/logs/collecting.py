"""The answers of a log, checked one by one and bounded; and what all readers of logs share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from palimpsest.errors import UserError, did_you_mean
from palimpsest.judging.compare import LoggedItem, LoggedTask, LogOptions, Sample
from palimpsest.lm.translators import base_language, is_language

MOST_ITEMS = 1_000_000
"""Answers of one model that are read."""

MOST_CHARACTERS = 8_000
"""Of one prompt or answer that is kept for the report; a longer one loses its middle."""

MOST_CHARACTERS_TOGETHER = 64 * 2**20
"""Of all texts of one model; what comes after them is compared, but not shown."""

LANGUAGE_FIELDS = ("lang", "language")
"""Fields that say in which language an item is."""


class LogCollector:
    """Gathers the answers of one model, checks them, and keeps no more text than is shown.

    Args:
        options: How the log is read.

    Example:
        >>> log = LogCollector(LogOptions())
        >>> for task in ("a", "b", "c"):
        ...     log.note("Scored by 'acc'", task)
        >>> log.notes
        ["Scored by 'acc': a and 2 more tasks."]
    """

    def __init__(self, options: LogOptions) -> None:
        self.options = options
        self._tasks: dict[tuple[str, str | None], LoggedTask] = {}
        self._places: dict[tuple[str, str | None, str, str], str] = {}
        self._notes: dict[str, list[str]] = {}
        self._n_left = MOST_CHARACTERS_TOGETHER

    @property
    def tasks(self) -> tuple[LoggedTask, ...]:
        """What has been gathered."""
        return tuple(self._tasks.values())

    @property
    def notes(self) -> list[str]:
        """What to know before trusting it; what holds for several tasks is said once."""
        said = []
        for sentence, tasks in self._notes.items():
            n_more = len(tasks) - 1
            more = f" and {n_more} more task{'s' if n_more > 1 else ''}" if n_more else ""
            said.append(f"{sentence}: {tasks[0]}{more}.")
        if self._n_left <= 0:
            said.append(
                "The logs are long: the texts of their last answers are compared, but not shown in "
                "the report."
            )
        return said

    def note(self, sentence: str, task: str) -> None:
        """Add a sentence, without its full stop, on a task."""
        self._notes.setdefault(sentence, []).append(task)

    def choose_metric(self, task: str, metrics: Sequence[str], place: str) -> str:
        """Return the metric that counts, and note it if there are others and none was asked for.

        Args:
            task: For messages.
            metrics: Those with a number for a single item; at least one.
            place: For messages.

        Raises:
            UserError: None of those that were asked for is there.
        """
        wanted = self.options.metrics
        for name in wanted:
            if name in metrics:
                return name
        if wanted:
            raise UserError(
                f"{place}: no metric '{wanted[0]}' with a number for a single item."
                f"{did_you_mean(wanted[0], metrics)}",
                hint=f"{task} has: {', '.join(metrics)}.",
            )
        first, *others = metrics
        if others:
            self.note(f"Scored by '{first}', not by {quoted(others)} (--metric chooses)", task)
        return first

    def key_of(self, fields: Mapping[str, Any], place: str, *, default: Any) -> str:
        """Return the key of an item by the fields that the user chose, or by default its id.

        Raises:
            UserError: One is missing.
        """
        if not self.options.key:
            if default is None or default == "":
                known = ", ".join(map(str, fields))
                raise UserError(
                    f"{place}: no id.",
                    hint=f"Say what identifies an item with --key. There are: {known}.",
                )
            return str(default)
        values = []
        for name in self.options.key:
            value = find_field(fields, name)
            if value is None or value == "":
                raise UserError(
                    f"{place}: no field '{name}', which --key asks for.",
                    hint=f"There are: {', '.join(map(str, fields))}.",
                )
            values.append(value if isinstance(value, str) else json.dumps(value, default=str))
        return " / ".join(values)

    def language_of(self, fields: Mapping[str, Any]) -> str | None:
        """Return the language of an item, if its fields say it.

        Example:
            >>> log = LogCollector(LogOptions())
            >>> log.language_of({"lang": "fr"}), log.language_of({"lang": "rust"})
            ('fr', None)
        """
        if self.options.language is not None:
            value = find_field(fields, self.options.language)
            return None if value in (None, "") else str(value)
        said = (fields.get(name) for name in LANGUAGE_FIELDS)
        codes = (one for one in said if isinstance(one, str) and is_language(base_language(one)))
        return next(codes, None)

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
            UserError: The same answer again, another item under the same key, a score or a chance
                beyond its range, or too many answers.
        """
        score = self._fraction(sample, metric, place)
        if sample.chance is not None and not 0 <= sample.chance < 1:
            raise UserError(
                f"{place}: the chance of guessing is {sample.chance:g}; not a fraction below 1.",
                hint="Write 0.25 for one of four, or say it for all items with --chance.",
            )
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
        scale = self.options.scale
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
        earlier = self._places.get(key)
        if earlier is not None:
            epoch = "" if sample.epoch == "1" else f", epoch {sample.epoch},"
            raise UserError(
                f"{place}: '{sample.key}'{epoch} of {task} was answered before, at {earlier}.",
                hint="Each item may come once in a run. If the id does not identify it, choose "
                "the fields that do with --key.",
            )
        self._places[key] = place
        if len(self._places) > MOST_ITEMS:
            raise UserError(
                f"{place}: more than {MOST_ITEMS:,} answers; so many are not compared at once.",
                hint="Compare a few tasks at a time.",
            )

    def _shortened(self, sample: Sample) -> Sample:
        """Return the sample with what of its texts is kept for the report."""
        texts = [sample.prompt, sample.raw, sample.answer, sample.target]
        kept = [_clipped(text) if self._n_left > 0 else "" for text in texts]
        self._n_left -= sum(map(len, kept))
        prompt, raw, answer, target = kept
        chance = sample.chance if self.options.chance is None else self.options.chance
        return sample._replace(prompt=prompt, raw=raw, answer=answer, target=target, chance=chance)


def _clipped(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters …]\n{text[-half:]}"


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


def quoted(names: Sequence[str]) -> str:
    """Return names in quotes, with commas between them."""
    return ", ".join(f"'{name}'" for name in names)
