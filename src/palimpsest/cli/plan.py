"""``palimpsest plan``: how many prompts a verdict takes, before they are paid for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palimpsest.cli.options import Json, Prices, Quiet
from palimpsest.cli.terminal import command_line, progress_bars, show_notes

if TYPE_CHECKING:
    from palimpsest.records import EvaluationPlan

N_RUNS = 200


Pilot = Annotated[
    Path | None,
    typer.Argument(help="A run folder, even of ten prompts; without one, assume --base …"),
]
Base = Annotated[
    float | None, typer.Option("--base", help="Accuracy of the base model, such as 0.9.")
]
Fall = Annotated[
    float | None,
    typer.Option("--fall", help="Base minus tuned accuracy; in place of the pilot's."),
]
Recovery = Annotated[
    float | None,
    typer.Option(
        "--recovery",
        help="Share of the fall that conjugations bring back; in place of that of the pilot's "
        "best.",
    ),
]
BaseUnder = Annotated[
    float | None,
    typer.Option(
        "--base-under", help="Accuracy of the base under conjugations; as plainly by default."
    ),
]
Vias = Annotated[int, typer.Option("--vias", min=1, max=4, help="Conjugations that are assumed.")]
Shared = Annotated[
    float,
    typer.Option(
        "--shared",
        help="Share of the answers that their prompt's difficulty decides, for all alike.",
    ),
]
OneCell = Annotated[
    str | None,
    typer.Option("--cell", help="Plan for this cell of the pilot; for the average by default."),
]
Prompts = Annotated[
    list[int] | None,
    typer.Option(
        "--prompts",
        "-n",
        help="Tell the smallest fall that so many prompts a cell show; repeatable. By default "
        "50, 100, 200, 500, 1000.",
    ),
]
Runs = Annotated[
    int, typer.Option("--runs", min=20, help="Simulated runs for each number of prompts.")
]
PlanSeed = Annotated[int, typer.Option("--seed", help="Seed of the simulation.")]
PlanOut = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write plan.json, plan.csv and the figure here as well."),
]


def plan(
    pilot: Pilot = None,
    base: Base = None,
    fall: Fall = None,
    recovery: Recovery = None,
    base_under: BaseUnder = None,
    n_vias: Vias = 2,
    shared: Shared = 0.5,
    cell: OneCell = None,
    prompts: Prompts = None,
    prices: Prices = None,
    runs: Runs = N_RUNS,
    seed: PlanSeed = 0,
    out: PlanOut = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Say how many prompts a verdict takes, before they are asked.

    \b
    palimpsest plan palimpsest-out
    palimpsest plan --base 0.9 --fall 0.1 --recovery 0.6 \\
        --prompts 200 --out planned

    Runs are simulated and judged by the rule of `palimpsest diagnose`: from a pilot, which knows
    how answers hang together and what they cost, or from assumptions.

    Next: ask so many, palimpsest diagnose BASE TUNED --limit N
    """
    from palimpsest.judging import DEFAULT_PROMPTS, Assumptions
    from palimpsest.judging import plan as simulate

    assumptions = Assumptions(base, fall, recovery, base_under, n_vias, shared)
    with progress_bars(enabled=not quiet and not json) as show:
        found = simulate(
            pilot,
            assumptions=assumptions,
            cell=cell,
            prompts=DEFAULT_PROMPTS if prompts is None else prompts,
            prices=prices,
            n_runs=runs,
            seed=seed,
            progress=lambda what, n_done, n_total: show(what, n_done, n_total, ""),
        )
    if out is not None:
        from palimpsest.report import write_plan

        write_plan(out, found, command=command_line())
    if json:
        typer.echo(found.to_json())
    else:
        _show(found, out, quiet=quiet)


def _show(found: EvaluationPlan, out: Path | None, *, quiet: bool) -> None:
    from palimpsest.report import plan_sentences, plan_table

    if not quiet:
        from rich.console import Console

        Console(highlight=False, markup=False).print(plan_table(found))
    for sentence in plan_sentences(found):
        typer.echo(sentence)
    show_notes(found.notes)
    if out is not None:
        typer.echo(f"Plan: {out / 'plan.json'}")
