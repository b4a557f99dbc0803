"""What counts where a log has several: metrics, runs of a task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.compare.logged import LogOptions


def choose_metric(
    task: str, metrics: Sequence[str], options: LogOptions, place: str
) -> tuple[str, list[str]]:
    """Return the metric that counts, and a note if there are others and none was asked for.

    Args:
        task: For messages.
        metrics: Those with a number for a single item; at least one.
        options: Have what the user asked for.
        place: For messages.

    Raises:
        UserError: None of those that were asked for is there.
    """
    if options.metrics:
        for name in options.metrics:
            if name in metrics:
                return name, []
        wanted = options.metrics[0]
        raise UserError(
            f"{place}: no metric '{wanted}' with a number for a single item."
            f"{did_you_mean(wanted, metrics)}",
            hint=f"{task} has: {', '.join(metrics)}.",
        )
    first, *others = metrics
    if not others:
        return first, []
    return first, [f"{task}: scored by '{first}', not by {quoted(others)} (--metric chooses)."]


def unused_note(older: Sequence[Path]) -> list[str]:
    """Say which logs are not used as there is a newer one of the same task."""
    if not older:
        return []
    more = f" and {len(older) - 1} more" if len(older) > 1 else ""
    return [f"Of several logs of a task the newest counts; not used: {older[0].name}{more}."]


def quoted(names: Sequence[str]) -> str:
    """Return names in quotes, with commas between them."""
    return ", ".join(f"'{name}'" for name in names)
