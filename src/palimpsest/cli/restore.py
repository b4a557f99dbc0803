"""``palimpsest restore``: what lies between a base and a tuned model, and the better cure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palimpsest.cli.help import Commands, CommandWithActions
from palimpsest.cli.options import (
    BASE_HELP,
    EXIT_FORGOTTEN,
    Address,
    EngineName,
    Json,
    Limit,
    NWorkers,
    Out,
    Quiet,
    Seed,
    Via,
    workers_of,
)
from palimpsest.cli.terminal import command_line, progress_bars, show_notes, told_by
from palimpsest.errors import UserError

if TYPE_CHECKING:
    from palimpsest.records import Restoration

app = Commands(cls=CommandWithActions)


LostSuite = Annotated[
    str, typer.Option("--suite", "-s", help="What was lost; see: `palimpsest list suites`.")
]
TunedFor = Annotated[
    str,
    typer.Option(
        "--target",
        help="What it was tuned for: a suite, or `text:FILE` with held-out rows of the tuning "
        "data, measured in bits a byte.",
    ),
]
Members = Annotated[
    list[str] | None,
    typer.Option(
        "--members",
        help="Members to ask, repeatable: `interpolate:0.2,0.4`, `dg-hard`, "
        "`'dg-hard|interpolate:0.7'`; see: `palimpsest list members`. By default some "
        "interpolations, lines, dg-hard and ties.",
    ),
]
TargetMargin = Annotated[
    float,
    typer.Option(
        "--target-margin",
        min=0.1,
        max=99.0,
        help="How far the target may fall, in points; of text, in points of the base's bits "
        "that are saved. A member is good enough only if a larger fall is excluded.",
    ),
]
Train = Annotated[
    bool,
    typer.Option(
        "--train",
        help="Also heal the tuned model by a short training on text that the base writes itself, "
        "and ask the result, `healing:OUT/healings/seed-0`. Needs peft. A quarter of the target "
        "at most is trained on, and judges nobody.",
    ),
]
TrainSet = Annotated[
    list[str] | None,
    typer.Option(
        "--train-set",
        metavar="KEY=VALUE",
        help="A setting of that training, repeatable: `seed=1`, `n_steps=500`, "
        "`openings=natural`, `keep=2`; a wrong one is answered with all there are.",
    ),
]
Write = Annotated[
    Path | None,
    typer.Option(
        "--write",
        metavar="DIR",
        help="Write the chosen member as a checkpoint into this new folder. If none is good "
        "enough, nothing is written, and the exit code is 3.",
    ),
]


@app.callback(invoke_without_command=True)
def restore(
    base: Annotated[str, typer.Argument(help=BASE_HELP)],
    tuned: Annotated[str, typer.Argument(help="The model after tuning.")],
    suite: LostSuite,
    target: TunedFor,
    members: Members = None,
    via: Via = None,
    target_margin: TargetMargin = 2.0,
    train: Train = False,
    train_set: TrainSet = None,
    write: Write = None,
    out: Out = Path("palimpsest-out"),
    limit: Limit = None,
    engine: EngineName = "here",
    workers: NWorkers = None,
    address: Address = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Say how to get back what was lost, and at what cost.

    \b
    palimpsest restore ./base ./tuned \\
        --suite jsonl:lost.jsonl --target text:held-out.jsonl
    palimpsest restore rosetta:base rosetta:tuned \\
        --suite rosetta --target rosetta-instructions

    Asks models between base and tuned, and the tuned model under its best conjugations, what was
    lost and what it was tuned for, and chooses by a rule that docs/verdicts.md has. Answers in the
    run folder, of a diagnosis too, are never asked again; interrupt it whenever you like.

    Then open restore.html. Next: `palimpsest restore write MEMBER DIR`.
    """
    from palimpsest.families import check_new_folder, parse_recipe
    from palimpsest.families import restore as ask_all

    if write is not None:
        check_new_folder(write)
    if train_set and not train:
        raise UserError(
            f"--train-set {train_set[0]} sets a training that is not wanted.",
            hint="Add --train, or leave it out.",
        )
    with (
        workers_of(engine, workers, address) as held_by,
        progress_bars(enabled=not quiet and not json) as show,
    ):
        found = ask_all(
            base,
            tuned,
            suite=suite,
            target=target,
            members=members,
            via=via,
            target_margin=target_margin / 100,
            out=out,
            limit=limit,
            workers=held_by,
            train=parse_recipe(train_set or ()) if train else None,
            seed=seed,
            command=command_line(),
            progress=told_by(show, held_by),
            notify=None if json else show_notes,
        )
    if json:
        typer.echo(found.to_json())
    else:
        show_restoration(found, out, quiet=quiet)
    if write is not None:
        _write_chosen(found, write, quiet=quiet or json)
        typer.echo(f"Model: {write}", err=json)


def _write_chosen(found: Restoration, folder: Path, *, quiet: bool) -> None:
    """Write the member that is good enough; end with :data:`EXIT_FORGOTTEN` if none is."""
    if found.choice.outcome != "good" or found.choice.name is None:
        typer.echo("Nothing is written: no member is good enough.", err=True)
        raise typer.Exit(EXIT_FORGOTTEN)
    _write(found, found.choice.name, folder, quiet=quiet)


def _write(found: Restoration, member: str, folder: Path, *, quiet: bool) -> None:
    from palimpsest.families import write_member

    with progress_bars(enabled=not quiet) as show:
        write_member(
            found,
            member,
            folder,
            progress=lambda share: show("written", round(100 * share), 100, ""),
        )


@app.command("write")
def write_command(
    member: Annotated[
        str, typer.Argument(help="A member, such as interpolate:0.4; measured or not.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    run: Annotated[
        Path, typer.Option("--out", "-o", help="The run folder that `restore` has written.")
    ] = Path("palimpsest-out"),
    quiet: Quiet = False,
) -> None:
    """Write a member as a checkpoint, with a card of what was measured.

    \b
    palimpsest restore write interpolate:0.4 ./healed
    palimpsest restore write 'dg-hard|interpolate:0.7' \\
        ./healed --out my-run

    Base and tuned model, and the figures on the card, are those of the run. transformers and vLLM
    take the folder. Next: diagnose it against the base.
    """
    from palimpsest.families import check_new_folder, read_restoration

    check_new_folder(folder)
    _write(read_restoration(run), member, folder, quiet=quiet)
    typer.echo(f"Model: {folder}")


def show_restoration(found: Restoration, out: Path, *, quiet: bool) -> None:
    """Print the table, the choice and the better cure, and where the report is."""
    from palimpsest.report import visible

    if not quiet:
        from rich.console import Console

        from palimpsest.report.families import FrontTable

        Console(highlight=False, markup=False).print(FrontTable(found))
    outcome = {"good": "good enough", "none": "none", "inconclusive": "inconclusive"}
    typer.secho(
        visible(f"In the weights: {outcome[found.choice.outcome]}. {found.choice.reason}"),
        bold=True,
    )
    typer.secho(visible(f"Better cure: {found.cure.outcome}. {found.cure.reason}"), bold=True)
    show_notes(found.warnings)
    typer.echo(f"Report: {out / 'restore.html'}")
