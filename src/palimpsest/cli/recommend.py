"""``palimpsest recommend``: which conjugations to try for prompts without known answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palimpsest.cli.options import Address, EngineName, Json, NWorkers, Quiet, Seed, workers_of
from palimpsest.cli.terminal import json_text, progress_bars, told_by
from palimpsest.errors import UserError

if TYPE_CHECKING:
    from palimpsest.judging.recommend import Ranked, Recommendation, Term
    from palimpsest.report import FittedTable

Prompts = Annotated[
    Path,
    typer.Option(
        "--prompts",
        "-p",
        help="Prompts, one a line; or .jsonl with rows of id, prompt, lang and no answers.",
    ),
]
Via = Annotated[
    list[str] | None,
    typer.Option(
        "--via",
        help="A conjugation, repeatable. By default the prompts' other languages and all of: "
        "`palimpsest list conjugations`. Ask for translations: `--via translate:fr`",
    ),
]


def recommend(
    tuned: Annotated[str, typer.Argument(help="The model after tuning: a folder, id or spec.")],
    prompts: Prompts,
    base: Annotated[
        str, typer.Option("--base", help="The model before tuning: its answers stand for labels.")
    ],
    via: Via = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Use the first so many prompts.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the JSON to this file as well.")
    ] = None,
    engine: EngineName = "here",
    workers: NWorkers = None,
    address: Address = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Rank conjugations for prompts whose answers nobody knows.

    \b
    palimpsest recommend ./tuned --base ./base -p prompts.txt
    palimpsest recommend rosetta:tuned --base rosetta:base \\
        --prompts mine.jsonl --via leet --via fr

    Best are those under which the tuned model says again what the base says plainly; see
    docs/how-to/recommend.md. Next: try the best with `palimpsest prompt`.
    """
    from palimpsest.judging.recommend import recommend as rank
    from palimpsest.records import explained

    if out is not None and not out.parent.is_dir():  # said before the models have worked
        raise UserError(f"There is no folder '{out.parent}' to write '{out.name}' into.")
    with (
        workers_of(engine, workers, address) as held_by,
        progress_bars(enabled=not quiet and not json) as show,
    ):
        tell = told_by(show, held_by)
        found = rank(
            tuned,
            prompts=prompts,
            base=base,
            via=via,
            limit=limit,
            workers=held_by,
            seed=seed,
            progress=lambda role, n_done, n_total: tell(
                f"{role}: prompts asked", n_done, n_total, 0
            ),
        )
    if out is not None:
        with explained(out):
            out.write_text(json_text(found.to_json()) + "\n", "utf-8")
    if json:
        typer.echo(json_text(found.to_json()))
    else:
        _show(found, quiet=quiet)


def _show(found: Recommendation, *, quiet: bool) -> None:
    if not quiet and found.ranked:
        from rich.console import Console

        Console().print(_table(found))
        typer.echo(
            f"Of {found.n_prompts} prompts those count that the tuned model answers otherwise than "
            "the base,\nand whose answer the base gives under another conjugation as well.\n"
            "Brings back: the share on which it answers as the base does plainly. Cost: "
            f"{found.cost_unit} of s(P) against P.\n"
        )
    for one in found.candidates:
        if one.excluded is not None and not quiet:
            typer.echo(f"Excluded: {_label(one)}: {one.excluded}")
    for warning in found.warnings:
        typer.echo(f"Note: {warning}", err=True)
    if found.ranked:
        doubt = "" if found.ranked[0].is_clear else " (but not clearly: see the note)"
        typer.secho(f"Most promising: {_label(found.ranked[0])}{doubt}", bold=True)


def _table(found: Recommendation) -> FittedTable:
    from palimpsest.report import FittedTable, TextColumn, number, percent

    ranked = found.ranked
    columns = {
        "Conjugation": [(_label(one), "") for one in ranked],
        "Brings back, %": [_term(one.score) for one in ranked],
        "Prompts": [(f"{one.n_prompts:,}", "") for one in ranked],
        "Cost": [(f"×{number(one.cost, 2)}", "") for one in ranked],
        "Best in, %": [(percent(one.best_share), "") for one in ranked],
    }
    more = [("Best in, %", True), ("Cost", True), ("Prompts", True)]
    return FittedTable(
        [TextColumn(*column, is_number=column[0] != "Conjugation") for column in columns.items()],
        [("Brings back, %", False), ("Brings back, %", True), *more],
        n_essential=1,
        elsewhere="--json or --out FILE",
    )


def _term(term: Term) -> tuple[str, str]:
    """Return a score in per cent and its interval, if it has one."""
    from palimpsest.report import number, percent

    if term.ci95 is None:
        return percent(term.value), ""
    low, high = (number(100 * end, 1) for end in term.ci95)
    return percent(term.value), f"[{low}, {high}]"


def _label(one: Ranked) -> str:
    from palimpsest.report import visible

    return visible(one.name)
