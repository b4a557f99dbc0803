"""Run a diagnosis for the terminal: progress bars, table, verdict, where the report is."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from palimpsest.lm.diagnose import DiagnosisProgress
    from palimpsest.lm.models.budget import Budget
    from palimpsest.records.results import Results


def diagnose_and_show(
    base: str,
    tuned: str,
    *,
    suite: str,
    out: Path,
    via: Sequence[str] | None = None,
    limit: int | None = None,
    min_fidelity: float = 0.0,
    budget: Budget | None = None,
    seed: int = 0,
    quiet: bool = False,
    as_json: bool = False,
) -> Results:
    """Diagnose a pair and print what the options ask for."""
    from palimpsest.lm.diagnose import diagnose

    with _progress(enabled=not quiet and not as_json) as progress:
        results = diagnose(
            base,
            tuned,
            suite=suite,
            via=via,
            out=out,
            limit=limit,
            min_fidelity=min_fidelity,
            budget=budget,
            seed=seed,
            command=shlex.join(["palimpsest", *sys.argv[1:]]),
            progress=progress,
        )
    if as_json:
        typer.echo(results.to_json())
    else:
        _show(results, out, quiet=quiet)
    return results


def _show(results: Results, out: Path, *, quiet: bool) -> None:
    if not quiet:
        from rich.console import Console

        from palimpsest.report.tables import terminal_table

        Console().print(terminal_table(results))
        if results.suite.chance is not None:
            typer.echo(f"Chance level: {100 * results.suite.chance:.1f} %")
    typer.secho(f"Verdict: {results.verdict}. {results.verdict_reason}", bold=True)
    for cell in results.cells:
        typer.echo(f"  {cell.name}: {cell.verdict}. {cell.verdict_reason}")
    for warning in results.warnings:
        typer.secho(f"Note: {warning}", err=True)
    cost = results.provenance.cost_usd
    if cost is not None:
        typer.echo(f"Cost of this run: ${cost:.4f}")
    typer.echo(f"Report: {out / 'report.html'}")


@contextmanager
def _progress(*, enabled: bool) -> Iterator[DiagnosisProgress | None]:
    """Draw a bar with rate and time left for each model, on standard error."""
    if not enabled:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description:6}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def show(role: str, n_done: int, n_total: int, n_reused: int) -> None:
            if role not in tasks:
                tasks[role] = bars.add_task(role, total=n_total, completed=n_reused, rate="")
            speed = bars.tasks[tasks[role]].speed
            rate = f"{speed:.0f} answers/s" if speed else ""
            bars.update(tasks[role], completed=n_done, rate=rate)

        yield show
