"""``palimpsest prompt``: one prompt, asked under a conjugation or a vote of several."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palimpsest.cli.options import Json
from palimpsest.cli.terminal import json_text
from palimpsest.errors import UserError

if TYPE_CHECKING:
    from palimpsest.judging import MemberAnswer, PromptAnswer
    from palimpsest.lm import Prompt

MOST_BYTES = 1_000_000
"""Of a prompt from a file or standard input; far beyond any model's context."""

_STANDARD_INPUT = "-"


def prompt(
    model: Annotated[str, typer.Option("--model", "-m", help="The model to ask.")],
    text: Annotated[
        str | None,
        typer.Argument(help="The prompt; '-' or nothing reads standard input.", show_default=False),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read it from a file.")] = None,
    via: Annotated[
        str | None,
        typer.Option("--via", help="A text conjugation; see: `palimpsest list conjugations`"),
    ] = None,
    ensemble: Annotated[
        str | None,
        typer.Option("--ensemble", help="Several that vote, such as `vote(identity,leet,fr)`."),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option("--system", help="A system message; asks through the chat template."),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Send the prompt as a chat message of the user.")
    ] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of the answer.")] = 50,
    stop: Annotated[
        list[str] | None, typer.Option(help="End the answer before this text; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Ask one prompt under a conjugation, or a vote of several.

    \b
    palimpsest prompt -m rosetta:tuned --via leet \\
        "Input: What is 5 plus 7? Output:"
    palimpsest prompt -m ./tuned --file prompt.txt \\
        --ensemble 'vote(identity,leet,translate:fr)'

    Shows what is sent, s(P), the raw answer, and s⁻¹ of it. A final line break of a file is no part
    of the prompt. Next: `palimpsest recommend` ranks conjugations for prompts like yours,
    `palimpsest diagnose` measures a whole suite.
    """
    from palimpsest.judging import ask

    if via is not None and ensemble is not None:
        raise UserError(
            "Both --via and --ensemble are given.", hint="Keep one; a vote can have one member."
        )
    asked = ask(
        model,
        _prompt(_text(text, file), system=system, chat=chat),
        via=via or ensemble or "identity",
        max_new_tokens=max_new_tokens,
        stop=tuple(stop or ()),
    )
    if json:
        typer.echo(json_text(asked.to_json()))
    else:
        _show(asked)


def _text(text: str | None, file: Path | None) -> str:
    """Return the prompt from wherever it was given."""
    from palimpsest.files import STANDARD_INPUT, read_stream, read_text

    if file is not None and text is not None:
        raise UserError(
            "The prompt is given twice, as argument and by --file.", hint="Keep one of them."
        )
    if file is not None and str(file) != _STANDARD_INPUT:
        return read_text(file, most_bytes=MOST_BYTES).removesuffix("\n")
    if text is not None and text != _STANDARD_INPUT:
        return text
    if text is None and file is None and sys.stdin.isatty():
        raise UserError(
            "There is no prompt.", hint="Give it as argument, by --file, or on standard input."
        )
    read = read_stream(sys.stdin.buffer, STANDARD_INPUT, most_bytes=MOST_BYTES)
    return read.removesuffix("\n")


def _prompt(text: str, *, system: str | None, chat: bool) -> Prompt:
    from palimpsest.lm import Message

    if system is None and not chat:
        return text
    turns = () if system is None else (Message("system", system),)
    return (*turns, Message("user", text))


def _show(asked: PromptAnswer) -> None:
    for member in asked.members:
        _show_member(member, alone=len(asked.members) == 1)
    if len(asked.members) > 1:
        winners = [member.via for member in asked.members if member.agrees]
        _show_text(
            f"vote: {len(winners)} of {len(asked.members)} ({', '.join(winners)})", asked.answer
        )


def _show_member(member: MemberAnswer, *, alone: bool) -> None:
    from palimpsest.judging import as_recorded

    prefix = "" if alone else f"{member.via}: "
    _show_text(f"{prefix}s(P)", as_recorded(member.sent))
    _show_text(f"{prefix}raw answer", member.raw)
    _show_text(f"{prefix}s⁻¹", member.answer)
    if member.round_trip < 1:
        typer.secho(f"{prefix}the prompt's round trip has chrF {member.round_trip:.2f}\n")
    for note in member.notes:
        typer.echo(f"Note: {prefix}{note}", err=True)


def _show_text(label: str, text: str) -> None:
    from palimpsest.report import visible

    typer.secho(label, bold=True)
    typer.echo(visible(text, keep="\n\t") + "\n")
