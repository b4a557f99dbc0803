"""Run a diagnosis for the terminal: progress bars, table, verdict, where the report is."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from palimpsest.judging.diagnose import DiagnosisProgress
    from palimpsest.lm.models.budget import Budget
    from palimpsest.records.results import Cell, Results


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
    from palimpsest.judging.diagnose import diagnose

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
    show_results(results, out, quiet=quiet, as_json=as_json)
    return results


def show_results(results: Results, out: Path, *, quiet: bool, as_json: bool) -> None:
    """Print table, verdicts, notes and where the report is; or nothing but the results as JSON."""
    if as_json:
        typer.echo(results.to_json())
        return
    from palimpsest.report.text import visible

    if not quiet:
        from rich.console import Console

        from palimpsest.report.diagnosis.tables import TerminalTable
        from palimpsest.report.text import flips_text, guessing_text

        Console().print(TerminalTable(results))
        if results.suite.from_logs:
            typer.echo(f"From base to tuned: {flips_text(results.plain)}")
        if results.suite.chance is not None:
            typer.echo(f"Chance level: {100 * results.suite.chance:.1f} %")
        if results.plain.adjusted is not None:
            typer.echo(f"Without guesses: {guessing_text(results.plain.adjusted)}")
    typer.secho(visible(f"Verdict: {results.verdict}. {results.verdict_reason}"), bold=True)
    # A single task of a log says nothing that has not been said.
    for cell in results.cells if len(results.cells) > 1 or not results.suite.from_logs else ():
        said = f"  {cell.name}: {cell.verdict}. {cell.verdict_reason}{_p_of(cell)}"
        typer.echo(visible(said))
    for warning in results.warnings:
        typer.secho(visible(f"Note: {warning}"), err=True)
    cost = results.provenance.cost_usd
    if cost is not None:
        typer.echo(f"Cost of this run: ${cost:.4f}")
    typer.echo(f"Report: {out / 'report.html'}")


def _p_of(cell: Cell) -> str:
    """Return the p-value of base against tuned over all cells."""
    if cell.p_holm is None:
        return ""
    from palimpsest.report.text import p_value, relation

    return f" Base against tuned: p {relation(p_value(cell.p_holm))} (Holm)."


@contextmanager
def _progress(*, enabled: bool) -> Iterator[DiagnosisProgress | None]:
    """Draw a bar with the rate of answers for each model."""
    if not enabled:
        yield None
        return
    from palimpsest.cli.bars import progress_bars

    with progress_bars() as show_bar:
        started: dict[str, float] = {}

        def show(role: str, n_done: int, n_total: int, n_reused: int) -> None:
            seconds = time.monotonic() - started.setdefault(role, time.monotonic())
            n_new = n_done - n_reused
            rate = f"{n_new / seconds:.0f} answers/s" if n_new and seconds else ""
            show_bar(role, n_done, n_total, rate)

        yield show
