"""The samples of a log, checked one by one, and bounded in number and size."""

from __future__ import annotations

import math

from palimpsest.errors import UserError
from palimpsest.judging.compare.logged import LoggedItem, LoggedTask, LogOptions, Sample

MOST_ITEMS = 1_000_000
"""Answers of one model that are read."""

MOST_CHARACTERS = 8_000
"""Of one prompt or answer that is kept for the report; a longer one loses its middle."""

MOST_CHARACTERS_TOGETHER = 64 * 2**20
"""Of all texts of one model; what comes after them is compared, but not shown."""


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


def _clipped(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters …]\n{text[-half:]}"
