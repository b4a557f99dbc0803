"""Help of the command line, in which every word and every example stays whole.

The framework shortens summaries that do not fit, breaks words at hyphens (``pig-latin``) and
commands at any space. Here summaries are wrapped, and what stands in backquotes keeps its spaces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from shutil import get_terminal_size
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_CODE = re.compile(r"`[^`\n]+`")
_HYPHEN, _SPACE = "\ue000", "\ue001"
"""Stand for a hyphen and for a space at which no line is to end, until the lines are made."""

_WHOLE_LINE = 10_000
"""Columns, when what is written goes to no terminal."""


def _bound(text: str) -> str:
    text = _CODE.sub(lambda code: code[0].replace(" ", _SPACE), text)
    return re.sub(r"(?<=\S)-(?=\S)", _HYPHEN, text)


class _Lines(typer.Context.formatter_class):  # type: ignore[misc, valid-type]
    """Help as lines, as typer writes it, but that none ends within a word or a piece of code."""

    def write_text(self, text: str) -> None:
        super().write_text(_bound(text))

    def write_dl(
        self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        most = self.width - 2 * self.current_indent
        bound = [
            (first if len(first) <= most else first.partition(" <")[0], _bound(second))
            for first, second in rows  # a choice of so many that its help has to name them
        ]
        super().write_dl(bound, min(col_max, self.width // 3), col_spacing)

    def getvalue(self) -> str:
        return str(super().getvalue()).replace(_HYPHEN, "-").replace(_SPACE, " ")


class _Context(typer.Context):
    formatter_class = _Lines

    @property
    def command_path(self) -> str:
        """What is typed to get here; a command beside another does not take its arguments."""
        if self.parent is not None and isinstance(self.parent.command, CommandWithActions):
            return f"{self.parent.command_path} {self.info_name}"
        return super().command_path


OPTIONAL = {"--noise-floor": "2"}
"""Options whose number may be left out, and what it then is."""


class Command(TyperCommand):
    """A command with help as above, some of whose options need no value."""

    context_class = _Context

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the numbers that were left out, and read the rest."""
        whole: list[str] = []
        for here, following in zip(args, [*args, ""][1:], strict=True):
            whole.append(here)
            if here in OPTIONAL and not re.fullmatch(r"-?\d+", following):
                whole.append(OPTIONAL[here])
        return super().parse_args(ctx, whole)


class CommandGroup(TyperGroup):
    """A group of commands whose summaries are whole first sentences."""

    context_class = _Context

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the names and summaries of the commands."""
        named = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(_WHOLE_LINE)) for name, one in named])


class CommandWithActions(CommandGroup):
    """A command with arguments of its own, and beside it commands that begin with its name.

    ``restore BASE TUNED …`` is the command itself, ``restore write …`` one beside it.
    """

    allow_interspersed_args = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "subcommand_metavar": "", "invoke_without_command": True})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command's own arguments, unless a command beside it is named first."""
        if args and args[0] in self.commands:
            ctx.invoked_subcommand = args[0]
            ctx._protected_args, ctx.args = args[:1], args[1:]
            return ctx.args  # type: ignore[no-any-return]
        rest = super().parse_args(ctx, args)
        extra = [*ctx._protected_args, *rest]
        if extra and not ctx.resilient_parsing:
            ctx.fail(f"Got unexpected extra arguments ({' '.join(extra)})")
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run what was named."""
        if ctx.invoked_subcommand is None:
            return super().invoke(ctx)
        command = self.commands[ctx.invoked_subcommand]
        inner = command.make_context(ctx.invoked_subcommand, ctx.args, parent=ctx)
        with inner:
            return command.invoke(inner)


class Commands(typer.Typer):
    """Commands, or a group of them, with help as above."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"cls": CommandGroup, "no_args_is_help": True, **settings})

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Register a function as a command; arguments as typer's."""
        return super().command(name, cls=Command, **settings)


def definition_list(rows: Iterable[tuple[str, str]]) -> str:
    """Return names and what they mean, wrapped to the terminal; to elsewhere a line for each.

    Example:
        >>> print(definition_list([("leet", "Letters as digits."), ("a-longer-name", "More.")]))
        leet           Letters as digits.
        a-longer-name  More.
    """
    rows = [(name, meaning.replace("``", "`")) for name, meaning in rows]
    columns = get_terminal_size((_WHOLE_LINE, 0)).columns
    lines = _Lines(width=columns)
    lines.write_dl(rows, col_max=max(len(name) for name, _ in rows))
    return lines.getvalue().rstrip("\n")
