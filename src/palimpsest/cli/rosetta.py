"""``palimpsest rosetta``: train the embedded pair, or check it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palimpsest.cli.help import Commands
from palimpsest.cli.options import Out, Quiet

if TYPE_CHECKING:
    from palimpsest.rosetta import Report

app = Commands(
    help="""Train or check the small pair that comes with the package.

    \b
    palimpsest rosetta check
    palimpsest rosetta train --out my-rosetta

    Begin with the check; `palimpsest demo` diagnoses the pair.
    """,
)


@app.command()
def train(
    out: Out = Path("rosetta-training"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of initialisation and data.")] = 0,
    pretraining_steps: Annotated[
        int | None, typer.Option(min=1, help="Shorten the pretraining.")
    ] = None,
    tuning_steps: Annotated[int | None, typer.Option(min=1, help="Shorten the tuning.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Prompts a cell when measuring.")] = 100,
    quiet: Quiet = False,
) -> None:
    """Train Rosetta by its recipe: half an hour on two cores.

    \b
    palimpsest rosetta train
    palimpsest rosetta train --out my-rosetta --seed 1

    Interrupt it whenever you like: the same command continues. The pair, its manifest and the
    measured table are in OUT/pair. Next: `palimpsest rosetta check OUT/pair`, and diagnose it.
    """
    from dataclasses import replace

    from palimpsest.rosetta import Recipe, train_pair

    recipe = Recipe(seed=seed)
    command = ["palimpsest", "rosetta", "train", "--seed", str(seed), "--n", str(n)]
    if pretraining_steps is not None:
        recipe = replace(recipe, pretraining=replace(recipe.pretraining, n_steps=pretraining_steps))
        command += ["--pretraining-steps", str(pretraining_steps)]
    if tuning_steps is not None:
        recipe = replace(recipe, tuning=replace(recipe.tuning, n_steps=tuning_steps))
        command += ["--tuning-steps", str(tuning_steps)]
    say = (lambda _: None) if quiet else (lambda what: typer.echo(f"Measuring: {what}", err=True))
    with _progress(enabled=not quiet) as report:
        manifest = train_pair(
            recipe, out, command=" ".join(command), report=report, measuring=say, n=n
        )
    from palimpsest.judging import diagnose
    from palimpsest.rosetta import curve_drawing, means_table

    typer.echo(means_table(manifest))
    diagnose(
        str(out / "pair" / "base"),
        str(out / "pair" / "tuned"),
        suite=f"rosetta:n={n}",
        out=out / "report",
        command=" ".join(command),
        extra_figures=[curve_drawing(manifest)],
    )
    typer.echo(f"Pair: {out / 'pair'}")
    typer.echo(f"Report: {out / 'report' / 'report.html'}")


@app.command()
def check(
    pair: Annotated[
        Path | None, typer.Argument(help="A pair's folder; by default the embedded one.")
    ] = None,
    measure: Annotated[
        bool, typer.Option(help="Also measure both models anew and compare with the manifest.")
    ] = False,
) -> None:
    """Check a pair of models against its manifest.

    \b
    palimpsest rosetta check
    palimpsest rosetta check --measure

    Compares every file's SHA-256 and, if asked, the measured table. Exits 2 and names the file or
    figure that differs. Next: `palimpsest demo`.
    """
    from palimpsest.rosetta import check_figures, check_files, means_table, read_manifest

    folder, manifest = read_manifest(pair)
    check_files(folder, manifest)
    typer.echo(f"{len(manifest.sha256)} files of {folder} are as the manifest says.")
    if measure:
        check_figures(folder, manifest)
        typer.echo("Measured anew: every figure is as the manifest says.")
    typer.echo(means_table(manifest))


@contextmanager
def _progress(*, enabled: bool) -> Iterator[Report]:
    """Draw a bar with the loss for each stage."""
    if not enabled:
        yield lambda *_: None
        return
    from palimpsest.cli.terminal import progress_bars

    with progress_bars() as show:
        yield lambda stage, step, n_steps, loss: show(stage, step, n_steps, f"loss {loss:.3f}")
