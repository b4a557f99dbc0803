"""What counts where a log has several: metrics, runs of a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from palimpsest.errors import UserError, did_you_mean
from palimpsest.judging.compare.logged import LogOptions


class Notes:
    """Sentences on tasks; what holds for several tasks is said once.

    Example:
        >>> notes = Notes()
        >>> for task in ("a", "b", "c"):
        ...     notes.add("Scored by 'acc'", task)
        >>> list(notes)
        ["Scored by 'acc': a and 2 more tasks."]
    """

    def __init__(self) -> None:
        self._tasks: dict[str, list[str]] = {}

    def add(self, sentence: str, task: str) -> None:
        """Add a sentence, without its full stop, on a task."""
        self._tasks.setdefault(sentence, []).append(task)

    def __iter__(self) -> Iterator[str]:
        for sentence, tasks in self._tasks.items():
            n_more = len(tasks) - 1
            more = f" and {n_more} more task{'s' if n_more > 1 else ''}" if n_more else ""
            yield f"{sentence}: {tasks[0]}{more}."


def choose_metric(
    task: str, metrics: Sequence[str], options: LogOptions, place: str, notes: Notes
) -> str:
    """Return the metric that counts, and note it if there are others and none was asked for.

    Args:
        task: For messages.
        metrics: Those with a number for a single item; at least one.
        options: Have what the user asked for.
        place: For messages.
        notes: Where others are noted.

    Raises:
        UserError: None of those that were asked for is there.
    """
    if options.metrics:
        for name in options.metrics:
            if name in metrics:
                return name
        wanted = options.metrics[0]
        raise UserError(
            f"{place}: no metric '{wanted}' with a number for a single item."
            f"{did_you_mean(wanted, metrics)}",
            hint=f"{task} has: {', '.join(metrics)}.",
        )
    first, *others = metrics
    if others:
        notes.add(f"Scored by '{first}', not by {quoted(others)} (--metric chooses)", task)
    return first


def unused_note(older: Sequence[Path]) -> list[str]:
    """Say which logs are not used as there is a newer one of the same task."""
    if not older:
        return []
    more = f" and {len(older) - 1} more" if len(older) > 1 else ""
    return [f"Of several logs of a task the newest counts; not used: {older[0].name}{more}."]


def quoted(names: Sequence[str]) -> str:
    """Return names in quotes, with commas between them."""
    return ", ".join(f"'{name}'" for name in names)
