"""Progress bars with a note and the time left, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Show = Callable[[str, int, int, str], None]
"""Told a bar's name, how much is done, of how much, and a note such as a loss."""


@contextmanager
def progress_bars() -> Iterator[Show]:
    """Draw one bar for each name that is shown, in the order in which they first come."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeLeft(),
        console=Console(stderr=True),
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def show(name: str, n_done: int, n_total: int, note: str) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=n_total, completed=n_done, note="")
            bars.update(tasks[name], completed=n_done, note=note)

        yield show
