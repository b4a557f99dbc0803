"""``palimpsest trace``: the checkpoints of a training against its base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palimpsest.cli.options import (
    BASE_HELP,
    Address,
    EngineName,
    Json,
    Limit,
    NWorkers,
    Out,
    Quiet,
    Seed,
    Suite,
    Via,
    workers_of,
)
from palimpsest.cli.terminal import command_line, progress_bars, show_notes, told_by

if TYPE_CHECKING:
    from palimpsest.records import Trace

MINUTES_OF_PATIENCE = 60.0

Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="What is tuned for: a suite, or `text:FILE` with held-out rows of the tuning data.",
    ),
]

Margin = Annotated[
    float,
    typer.Option(min=0.1, max=99.0, help="The largest fall that still counts as none, in points."),
]
Watch = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Ask checkpoints as they come, while the training runs; one that is being written "
        "waits. Ends when the training has made its last step, or after --patience.",
    ),
]
Patience = Annotated[
    float, typer.Option(min=0.0, help="Minutes without a new checkpoint until --watch ends.")
]


def trace(
    base: Annotated[str, typer.Argument(help=BASE_HELP)],
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            metavar="CHECKPOINTS...",
            help="A Trainer's output folder, or checkpoints one by one; adapters too.",
        ),
    ],
    suite: Suite = None,
    via: Via = None,
    target: Target = None,
    out: Out = Path("palimpsest-out"),
    limit: Limit = None,
    engine: EngineName = "here",
    workers: NWorkers = None,
    address: Address = None,
    margin: Margin = 5.0,
    watch: Watch = False,
    patience: Patience = MINUTES_OF_PATIENCE,
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Say at which checkpoint of a training an ability went.

    \b
    palimpsest trace ./base runs/tuned
    palimpsest trace ./base runs/tuned --watch \\
        --suite jsonl:mine.jsonl --target text:held-out.jsonl

    Asks every checkpoint what `palimpsest diagnose` would, and says how long a conjugation still
    reads it back. Answers in the run folder, of earlier checkpoints or of a diagnosis, are never
    asked again; interrupt it whenever you like.

    Then open trace.html. Next: get it back, `palimpsest restore`.
    """
    from palimpsest.families import trace as ask_all

    with (
        workers_of(engine, workers, address) as held_by,
        progress_bars(enabled=not quiet and not json) as show,
    ):
        found = ask_all(
            base,
            checkpoints,
            suite=suite,
            via=via,
            target=target,
            out=out,
            limit=limit,
            workers=held_by,
            margin=margin / 100,
            watch=watch,
            patience_seconds=60 * patience,
            seed=seed,
            command=command_line(),
            progress=told_by(show, held_by),
            notify=None if json else show_notes,
            told=None if json else _tell,
        )
    if json:
        typer.echo(found.to_json())
    else:
        show_trace(found, out, quiet=quiet)


def _tell(found: Trace) -> None:
    """Say of the newest checkpoint what matters to whoever watches."""
    newest = found.checkpoints[-1]
    typer.echo(f"Step {newest.step:,}: {newest.verdict}. {newest.verdict_reason}")


def show_trace(found: Trace, out: Path, *, quiet: bool) -> None:
    """Print the table, what it shows, and where the report is."""
    from palimpsest.report import visible

    if not quiet:
        from rich.console import Console

        from palimpsest.report.families import TraceTable

        Console(highlight=False, markup=False).print(TraceTable(found))
    for number, sentence in enumerate(found.summary):
        typer.secho(visible(sentence), bold=number == 0)
    typer.echo(f"Report: {out / 'trace.html'}")
