"""``palimpsest lab``: the laboratory, where every claim is tested against exact Bayes answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from palimpsest.cli.help import Commands, definition_list
from palimpsest.cli.options import Address, Json, NWorkers, Quiet
from palimpsest.cli.terminal import command_line

if TYPE_CHECKING:
    from palimpsest.lab.runs import Config, OnJob, OnStage
    from palimpsest.records import LabResults
    from palimpsest.training import Progress

app = Commands(
    help="""Test the theory on small models, where the truth is known.

    \b
    palimpsest lab run tiny
    palimpsest lab sweep experiments/lab/finetune_steps.toml

    Trains, tunes and measures transformers on in-context regression, against exact Bayes answers.
    Begin with `palimpsest lab run tiny`: half a minute on two cores.
    """,
)

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one value, repeatable."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Seed of tasks, trainings and intervals.")
]


@app.command()
def run(
    source: Annotated[
        str,
        typer.Argument(metavar="PRESET|CONFIG.toml", help="tiny, small, published, or a file."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The run folder; by default palimpsest-lab-NAME."),
    ] = None,
    settings: Set = None,
    seed: Seed = None,
    base: Annotated[
        Path | None,
        typer.Option("--base", help="Start from the base in a folder of `lab pretrain`."),
    ] = None,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Pretrain, even where the package brings a base."),
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Take a base model, fine-tune it, measure what is forgotten.

    \b
    palimpsest lab run tiny
    palimpsest lab run tiny --from-scratch
    palimpsest lab run small --set finetune.n_steps=600

    Without a base made by the same settings, it pretrains first. Interrupt it whenever you like:
    the same command continues. Then open report.html.
    """
    from palimpsest.lab.runs import load_config
    from palimpsest.lab.runs import run as run_all
    from palimpsest.training import sigterm_raises

    config = load_config(source, settings or (), seed=seed)
    folder = out or Path(f"palimpsest-lab-{config.name}")
    start = _base(source, config, folder, base, from_scratch=from_scratch)
    if not quiet and not json:
        typer.echo(start.sentence, err=True)
        _estimate(config, folder, has_base=start.path is not None)
    with sigterm_raises(), _stages(enabled=not quiet and not json) as on_stage:
        results = run_all(
            config, folder, base=start.path, command=command_line(), on_stage=on_stage
        )
    if json:
        typer.echo(results.to_json())
    else:
        _show(results, folder)


@app.command()
def pretrain(
    source: Annotated[
        str,
        typer.Argument(metavar="PRESET|CONFIG.toml", help="tiny, small, published, or a file."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder; by default palimpsest-base-NAME."),
    ] = None,
    settings: Set = None,
    seed: Seed = None,
    quiet: Quiet = False,
) -> None:
    """Pretrain a base model that runs can start from.

    \b
    palimpsest lab pretrain tiny --seed 7 --out base-7
    palimpsest lab run tiny --seed 7 --base base-7

    It ends when it has converged, or at pretrain.n_steps. Interrupt it whenever you like: the same
    command continues, and a higher limit goes on from the steps made. Then read manifest.json.
    """
    from palimpsest.lab.runs import load_config, pretrain_base
    from palimpsest.training import sigterm_raises

    config = load_config(source, settings or (), seed=seed)
    folder = out or Path(f"palimpsest-base-{config.name}")
    with sigterm_raises(), _stages(enabled=not quiet) as on_stage:
        made = pretrain_base(config, folder, command=command_line(), on_stage=on_stage)
    typer.echo(f"{made.n_steps} steps. {made.check.convergence} {made.check.sentence}")
    typer.echo(f"Base: {folder / 'base.safetensors'}")


@app.command()
def sweep(
    source: Annotated[
        Path, typer.Argument(metavar="SWEEP.toml", help="What is varied, and over what.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder; by default palimpsest-sweep-NAME."),
    ] = None,
    settings: Set = None,
    engine: Annotated[
        str, typer.Option("--engine", help="Where runs are done: processes, here, or ray.")
    ] = "processes",
    workers: NWorkers = None,
    address: Address = None,
    bases: Annotated[
        Path | None,
        typer.Option("--bases", help="Folder of pretrained models that sweeps share."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Do many runs that differ in some keys, for one table.

    \b
    palimpsest lab sweep experiments/lab/finetune_steps.toml
    palimpsest lab sweep mine.toml --workers 4 \\
        --set pretrain.n_steps=1000

    Interrupt it whenever you like: the same command continues. Then read table.csv and figures/.
    """
    from palimpsest.engines import make_engine
    from palimpsest.errors import install_command
    from palimpsest.lab.runs import load_sweep, run_sweep
    from palimpsest.training import sigterm_raises

    plan = load_sweep(source, settings or ())
    folder = out or Path(f"palimpsest-sweep-{plan.name}")
    with sigterm_raises(), _jobs(enabled=not quiet) as on_job:
        table = run_sweep(
            plan,
            folder,
            engine=make_engine(engine, workers=workers, address=address),
            bases=bases,
            on_job=on_job,
        )
    for row in table:
        if row["error"]:
            typer.secho(f"A run failed: {row['error']}", err=True)
    typer.echo(f"{len(table)} runs. Table: {folder / 'table.csv'}")
    if not (folder / "table.parquet").exists():
        typer.echo(f"For table.parquet: {install_command('parquet')}, then run this again.")
    for path in sorted((folder / "figures").glob("*.png")):
        typer.echo(f"Figure: {path}")


@app.command()
def plot(
    folder: Annotated[Path, typer.Argument(help="The folder of a sweep.")],
    measure: Annotated[str, typer.Option("--measure", "-m", help="A column of table.csv.")],
    over: Annotated[str, typer.Option("--over", help="A key that the sweep varies.")],
    by: Annotated[
        str | None, typer.Option("--by", help="A key with a line for each of its values.")
    ] = None,
) -> None:
    """Draw any measure of a finished sweep over its keys.

    \b
    palimpsest lab plot palimpsest-sweep-width \\
        --measure recovery --over model.width
    palimpsest lab plot palimpsest-sweep-mine -m forgetting \\
        --over finetune.n_steps --by new_tasks

    Then look at FOLDER/figures.
    """
    from palimpsest.lab.runs import plot_again

    typer.echo(f"Figure: {plot_again(folder, measure=measure, over=over, by=by)}")


@app.command()
def claims(
    folder: Annotated[Path, typer.Argument(help="The folder of a sweep over seeds.")],
) -> None:
    """Judge claims by a sweep over seeds: C1 to C5, or C10 and C11.

    \b
    palimpsest lab sweep experiments/lab/claims.toml
    palimpsest lab claims palimpsest-sweep-claims

    A sweep that also varies tuned_with, as experiments/lab/ways.toml does, is judged for C10 and
    C11. Prints Markdown. Then compare with docs/claims.md.
    """
    from palimpsest.lab.runs import claims_table, judge_sweep, rules_list

    judged = judge_sweep(folder)
    typer.echo(claims_table(judged))
    typer.echo(f"\n{rules_list([one.claim for one in judged])}")


@app.command()
def observer(
    folder: Annotated[Path, typer.Argument(help="A sweep over tasks and steps.")],
) -> None:
    """Compare what models remember of M tasks with a rational observer.

    \b
    palimpsest lab sweep experiments/lab/threshold.toml
    palimpsest lab observer palimpsest-sweep-threshold

    The observer is that of arXiv 2506.17859, fitted to the sweep. Prints
    Markdown. Then compare with docs/claims.md.
    """
    from palimpsest.lab.runs import correlations, observe_sweep, observed_table

    observed = observe_sweep(folder)
    typer.echo(f"{observed_table(observed)}\n\n{correlations(observed)}")


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(help="Print this preset, to copy from.")] = None,
) -> None:
    """List the presets, or print one as TOML.

    \b
    palimpsest lab presets
    palimpsest lab presets tiny > mine.toml

    Then: palimpsest lab run mine.toml
    """
    from palimpsest.errors import UserError, did_you_mean
    from palimpsest.lab.runs.presets import PRESETS, preset_text

    if name is None:
        typer.echo(definition_list(PRESETS.items()))
        return
    if name not in PRESETS:
        raise UserError(
            f"No preset named '{name}'.{did_you_mean(name, PRESETS)}",
            hint=f"There are: {', '.join(PRESETS)}.",
        )
    typer.echo(preset_text(name), nl=False)


class _Start(NamedTuple):
    """Where a run has its base from."""

    path: Path | None
    """The weights; none if they are the folder's own."""
    sentence: str


def _base(
    source: str, config: Config, folder: Path, given: Path | None, *, from_scratch: bool
) -> _Start:
    """Return where a run has its base from: as told, the folder's own, or that of the package."""
    from palimpsest.errors import UserError
    from palimpsest.files import sha256_of
    from palimpsest.lab.runs import base_in, shipped_base, why_not_shipped

    if given is not None:
        if from_scratch:
            raise UserError("--base and --from-scratch exclude each other.", hint="Leave one out.")
        return _Start(base_in(given, config), f"Starts from the base in '{given}'.")
    found, own = shipped_base(config), folder / "base.safetensors"
    if found is None:
        return _Start(None, f"Pretrains, as {why_not_shipped(source, config)}.")
    is_shipped = own.exists() and sha256_of(own) == sha256_of(found)
    if from_scratch and is_shipped:
        raise UserError(
            f"The folder '{folder}' holds a run from the base of the package.",
            hint="Choose another folder with --out.",
        )
    if (
        from_scratch
        or (folder / "training" / "pretraining.safetensors").exists()
        or (own.exists() and not is_shipped)
    ):
        return _Start(None, "Pretrains anew." if from_scratch else "Goes on from its own base.")
    return _Start(found, "Starts from the converged base that comes with the package.")


def _estimate(config: Config, folder: Path, *, has_base: bool) -> None:
    if (folder / "results.json").exists():
        return
    from palimpsest.lab.runs import estimate_seconds
    from palimpsest.report import duration

    seconds = estimate_seconds(config, has_base=has_base)
    typer.echo(f"The trainings take about {duration(seconds)} on this machine.", err=True)


def _show(results: LabResults, folder: Path) -> None:
    from palimpsest.report import interval, number

    typer.secho(results.check.convergence, bold=True)
    for sentence in results.findings:
        if sentence != results.check.convergence:
            typer.echo(f"- {sentence}")
    for warning in results.warnings:
        if warning != results.check.convergence:
            typer.secho(f"Note: {warning}", err=True)
    best = results.best
    if best is not None and best.recovery.value is not None:
        recovered = f"{number(best.recovery.value, 2)} {interval(best.recovery.ci95, 2)}".rstrip()
        typer.secho(f"Recovery under {best.name}: {recovered}", bold=True)
    typer.echo(f"Report: {folder / 'report.html'}")


def _note(progress: Progress) -> str:
    """Return loss, excess and rate in few enough characters for a narrow terminal."""
    excess = "" if progress.excess is None else f" (Bayes {progress.excess:+.3f})"
    return f"loss {progress.loss:.3f}{excess}, {progress.steps_per_second:.0f}/s"


@contextmanager
def _stages(*, enabled: bool) -> Iterator[OnStage]:
    """Draw a bar for each training, with its loss, its excess over Bayes and its rate."""
    if not enabled:
        yield lambda name, progress: None
        return
    from palimpsest.cli.terminal import progress_bars

    with progress_bars() as show:

        def on_stage(name: str, progress: Progress | None) -> None:
            if progress is not None:
                show(name, progress.step, progress.n_steps, _note(progress))

        yield on_stage


@contextmanager
def _jobs(*, enabled: bool) -> Iterator[OnJob]:
    """Draw a bar over the jobs of a sweep."""
    if not enabled:
        yield lambda kind, n_done, n_total, name: None
        return
    from palimpsest.cli.terminal import progress_bars

    with progress_bars() as show:
        yield show
