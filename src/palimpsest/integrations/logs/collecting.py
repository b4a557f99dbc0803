"""The answers of a log, checked one by one and bounded; and what all readers of logs share."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from palimpsest.errors import UserError, did_you_mean
from palimpsest.judging.compare import LoggedItem, LoggedTask, LogOptions, Sample
from palimpsest.lm.translators import base_language, is_language

MOST_ITEMS = 1_000_000
"""Answers of one model that are read."""

MOST_CHARACTERS = 8_000
"""Of one prompt or answer that is kept for the report; a longer one loses its middle."""

MOST_CHARACTERS_TOGETHER = 64 * 2**20
"""Of all texts of one model; what comes after them is compared, but not shown."""

MOST_LISTED = 5
"""Tasks that a message lists."""

MISSING = frozenset(
    (
        *("nan", "+nan", "-nan", "null", "none", "nil", "na", "n/a", "n.a.", "undefined"),
        *("missing", "#n/a", "#nv", "#div/0!", "#value!", "-", "–", "—", "?"),
    )
)
"""What stands in logs, in any case, where there is no number; so does nothing at all."""

ACCURACY = re.compile(r"acc|exact|correct|\bem\b|pass@|\bmc[12]\b", re.I)
"""Metrics that are fractions by their names, and of which a guess among choices gets its share."""

NO_FRACTION = re.compile(
    r"perplexity|ppl|bits_per|bleu|rouge|chrf|\bter\b|_max\b|_diff\b|loss|nll|log_?lik|log_?prob|"
    r"\bwer\b|\bcer\b|\bmae\b|\bmse\b|tokens|seconds|cost",
    re.I,
)
"""Metrics that are no fraction by their names, even where all numbers of one model happen to lie
between 0 and 1."""

LANGUAGE_FIELDS = ("lang", "language")
"""Fields that say in which language an item is."""


class Span(NamedTuple):
    """The numbers of a metric over all items, from the least to the greatest."""

    least: float
    greatest: float


def find_metrics(items: Iterable[Mapping[str, Any]]) -> dict[str, Span | None]:
    """Return which of the items' fields may be metrics, and what numbers they have.

    A field that is nowhere a number is none; where one is missing for all items, its span is.

    Example:
        >>> find_metrics([{"acc": 1.0, "bleu": ["a", "b"]}, {"acc": 0.0, "f1": None}])
        {'acc': Span(least=0.0, greatest=1.0), 'f1': None}
    """
    found: dict[str, Span | None] = {}
    for fields in items:
        for name, value in fields.items():
            number = as_number(value)
            if number is None and not is_missing(value):
                continue
            span = found.setdefault(name, None)
            if number is not None and math.isfinite(number):
                least, greatest = span or (number, number)
                found[name] = Span(min(least, number), max(greatest, number))
    return found


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
        self._n_answers: Counter[str] = Counter()
        self._n_unscored: Counter[str] = Counter()
        self._first_unscored: dict[str, str] = {}

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

    def choose_metric(
        self,
        task: str,
        metrics: Iterable[str] | Mapping[str, Span | None],
        place: str,
        *,
        avoided: Collection[str] = (),
    ) -> str:
        """Return the metric that counts, and note it if there are others and none was asked for.

        It is the first, unless this is no fraction, such as a perplexity, and another is.

        Args:
            task: For messages.
            metrics: Those with a number for a single item; at least one. With their spans, where
                these are known.
            place: For messages.
            avoided: Metrics that count only if they are asked for.

        Raises:
            UserError: None of those that were asked for is there.
        """
        spans = dict(metrics) if isinstance(metrics, Mapping) else dict.fromkeys(metrics)
        wanted = self.options.metrics
        for name in wanted:
            if name in spans:
                return name
        if wanted:
            raise UserError(
                f"{place}: no metric '{wanted[0]}' with a number for a single item."
                f"{did_you_mean(wanted[0], spans)}",
                hint=f"{task} has: {', '.join(spans)}.",
            )
        first, chosen = next(iter(spans)), self._by_default(spans, avoided)
        others = [name for name in spans if name != chosen]
        span = spans[first]
        if chosen != first and span is not None:
            self.note(
                f"Scored by '{chosen}', not by the first metric, '{first}', which goes from "
                f"{span.least:g} to {span.greatest:g} (--metric chooses)",
                task,
            )
        elif others:
            self.note(f"Scored by '{chosen}', not by {quoted(others)} (--metric chooses)", task)
        return chosen

    def _by_default(self, spans: Mapping[str, Span | None], avoided: Collection[str]) -> str:
        ends = sorted(self.options.scale)
        usable = [name for name in spans if name not in avoided] or list(spans)
        numbers = {name: span for name in usable if (span := spans[name]) is not None}
        if not numbers:
            return usable[0]
        within = [n for n, span in numbers.items() if ends[0] <= span[0] <= span[1] <= ends[1]]
        fractions = [n for n in within if ACCURACY.search(n) or not NO_FRACTION.search(n)]
        if fractions and fractions[0] != next(iter(numbers)):
            fractions.sort(key=lambda name: ACCURACY.search(name) is None)
        return next(iter([*fractions, *within, *numbers]))

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
        self,
        task: str,
        sample: Sample,
        *,
        metric: str,
        place: str,
        language: str | None = None,
        why: str = "",
    ) -> None:
        """Add one answer, or, if its score is no finite number, that there is none.

        Args:
            task: What it belongs to.
            sample: The answer.
            metric: What its score is called.
            place: File and line, for messages.
            language: Of the item, where the log says it.
            why: Why there is no score, if it is not that the metric itself is missing.

        Raises:
            UserError: The same answer again, another item under the same key, a score or a chance
                beyond its range, or too many answers.
        """
        if sample.chance is not None and not 0 <= sample.chance < 1:
            raise UserError(
                f"{place}: the chance of guessing is {sample.chance:g}; not a fraction below 1.",
                hint="Write 0.25 for one of four, or say it for all items with --chance.",
            )
        self._check_new(task, language, sample, place)
        known = self._tasks.setdefault((task, language), LoggedTask(task, metric, language))
        if why or not math.isfinite(sample.score):
            reason = why or f"'{metric}' is missing or no number"
            self._n_unscored[task] += 1
            self._first_unscored.setdefault(task, f"{place}: {reason}")
            known.unscored.setdefault(sample.key, reason)
            known.items.pop(sample.key, None)
        if sample.key in known.unscored:
            return
        score = self._fraction(sample, metric, place)
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

    def check_complete(self) -> None:
        """Raise :class:`UserError` if some answers have no score, unless that was allowed."""
        if not self._n_unscored or not self.options.complete:
            return
        said = [
            f"{n:,} of {self._n_answers[task]:,} answers to {task} have no score to compare. The "
            f"first: {self._first_unscored[task]}."
            for task, n in self._n_unscored.most_common(MOST_LISTED)
        ]
        more = len(self._n_unscored) - len(said)
        raise UserError(
            "\n".join([*said, *([f"… and so in {more} more tasks."] if more else [])]),
            hint="Score or run them again, or leave these items out, of both models alike, with "
            "--allow-partial.",
        )

    def _fraction(self, sample: Sample, metric: str, place: str) -> float:
        scale = self.options.scale
        score = scale.fraction(sample.score)
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
        self._n_answers[task] += 1
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


def is_missing(value: Any) -> bool:
    """Return whether a value stands for no number.

    Example:
        >>> [is_missing(value) for value in (None, math.nan, "N/A", " ", 0, "wrong")]
        [True, True, True, True, False, False]
    """
    if isinstance(value, str):
        return value.strip().casefold() in MISSING or not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


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
