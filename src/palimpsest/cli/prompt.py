"""``palimpsest prompt``: one prompt, asked under a conjugation."""

from __future__ import annotations

from typing import Annotated

import typer

from palimpsest.cli.options import Json


def prompt(
    text: Annotated[str, typer.Argument(help="The prompt.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The model to ask.")],
    via: Annotated[
        str, typer.Option("--via", help="A text conjugation; see: palimpsest list conjugations")
    ] = "identity",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of the answer.")] = 50,
    stop: Annotated[
        list[str] | None, typer.Option(help="End the answer before this text; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Ask one prompt under a conjugation: show s(P), the raw answer and s⁻¹ of it.

    \b
    palimpsest prompt --model rosetta:tuned --via leet "Input: What is 5 plus 7? Output:"
    palimpsest prompt -m ./tuned --via 'leet|upper' --json "Say hello."

    Next: measure a whole suite with `palimpsest diagnose`.
    """
    from palimpsest.lm.ask import ask

    asked = ask(model, text, via=via, max_new_tokens=max_new_tokens, stop=tuple(stop or ()))
    if json:
        from json import dumps

        typer.echo(dumps(asked._asdict(), ensure_ascii=False, indent=2))
        return
    for label, value in (
        ("s(P)", asked.sent),
        ("raw answer", asked.raw),
        ("s⁻¹", asked.answer),
    ):
        typer.secho(label, bold=True)
        typer.echo(value + "\n")
