"""``palimpsest suites``: a suite looked at before it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from palimpsest.cli.help import Commands
from palimpsest.cli.options import Json
from palimpsest.cli.terminal import json_text

if TYPE_CHECKING:
    from palimpsest.judging import PreviewedExample, SentPrompt

app = Commands(
    help="""Look at a suite before it is asked.

    \b
    palimpsest suites preview rosetta:n=5
    palimpsest list suites

    Begin with the preview; then `palimpsest diagnose --suite …`.
    """,
)


@app.callback()
def suites() -> None:
    """Keep `preview` a command of its own, though it is the only one."""


@app.command()
def preview(
    suite: Annotated[str, typer.Argument(help="A suite with its options, as for `diagnose`.")],
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Whose prompts to show.", show_default=False),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many examples.")] = 3,
    lang: Annotated[
        str | None, typer.Option("--lang", help="Their language; by default the source language.")
    ] = None,
    json: Json = False,
) -> None:
    """Show the first prompts of a suite and how they are scored.

    \b
    palimpsest suites preview icl-vs-if ./base ./tuned
    palimpsest suites preview \\
        'rows:q.csv,prompt={question},scorer=number'

    Shown are the first example of each cell, then more: the prompt as each model would get it, the
    tokens where the answer begins, the expected answers, and what every scorer says to three sample
    answers. No model is asked anything. Next: `palimpsest diagnose` with that suite.
    """
    from palimpsest.judging import endings, preview_suite
    from palimpsest.lm.models import load_model
    from palimpsest.lm.suites import load_suite
    from palimpsest.report import visible

    built = load_suite(suite)
    opened = [load_model(spec) for spec in models or ()]
    shown = list(preview_suite(built, opened, n=n, language=lang))
    if json:
        said = {"suite": built.name, "max_new_tokens": built.max_new_tokens, "stop": built.stop}
        typer.echo(json_text({**said, "examples": [each.to_json() for each in shown]}))
        return
    for each in shown:
        _show(each)
    n_all = len(built.in_language(lang or built.source_language))
    typer.echo(f"{len(shown)} of {n_all} examples; languages: {', '.join(built.languages)}.")
    cells: dict[str, list[str]] = {}
    for cell, end in endings(built, lang).items():
        cells.setdefault(end, []).append(cell)
    for end, theirs in cells.items():
        of_cells = f" in {', '.join(theirs)}" if len(cells) > 1 else ""
        typer.echo(visible(f"Answers{of_cells} end {end}."))


def _show(previewed: PreviewedExample) -> None:
    from palimpsest.report import visible

    example = previewed.example
    title = f"{example.source_id}  ({example.cell}, {example.language})"
    typer.secho(f"== {visible(title)}", bold=True)
    for prompt in previewed.prompts:
        _show_prompt(prompt)
    for number, (ability, texts) in enumerate(example.answers.items()):
        form = f"  form: {example.forms[ability]}" if ability in example.forms else ""
        side = "right" if number == 0 else "intruded"
        typer.echo(visible(f"{side} ({ability}): {' | '.join(map(repr, texts))}{form}"))
    if example.choices:
        typer.echo(visible(f"choices: {' | '.join(map(repr, example.choices))}"))
    for sample in previewed.samples:
        (own, outcome), *others = sample.outcomes.items()
        said = "not said, but chosen by likelihood," if outcome is None else outcome
        typer.echo(visible(f"{sample.text!r}: {said} by {own}"))
        by_outcome: dict[str, list[str]] = {}
        for scorer, found in others:
            by_outcome.setdefault(found or "cannot use these answers", []).append(scorer)
        for what, scorers in by_outcome.items():
            typer.echo(f"    {what}: {', '.join(scorers)}")
    typer.echo()


def _show_prompt(prompt: SentPrompt) -> None:
    from palimpsest.report import visible

    note = "" if prompt.is_written or not prompt.model else ", which writes its own text of it"
    typer.secho(
        visible(f"prompt for {prompt.model}{note}" if prompt.model else "prompt"), bold=True
    )
    typer.echo(visible(prompt.text, keep="\n\t"))
    if prompt.joint is not None:
        before, after, n_replaced = prompt.joint
        last, first = (" ".join(f"[{visible(each)}]" for each in part) for part in (before, after))
        typer.echo(f"tokens: … {last}  then  {first} …")
        if n_replaced:
            typer.echo(
                f"  The answer changes the last {n_replaced} of the prompt's tokens: a model that "
                "answers\n  goes on from the prompt's own. Check the end of the prompt."
            )
    typer.echo()
