"""Help teaches, in every terminal: whole summaries, examples to copy, and what to do next."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cli.conftest import Palimpsest
from typer.main import get_command

from palimpsest.cli.help import definition_list
from palimpsest.cli.main import app


def _contexts(command: Any, name: str, parent: Any = None) -> Iterator[Any]:
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    yield context
    for name, below in getattr(command, "commands", {}).items():
        yield from _contexts(below, name, context)


COMMANDS = [
    pytest.param(context, id=context.command_path)
    for context in _contexts(get_command(app), "palimpsest")
]


def _paragraphs(command: Any) -> list[str]:
    return inspect.cleandoc(command.help).split("\n\n")


def _words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80, 100, 200])
@pytest.mark.parametrize("context", COMMANDS)
def test_no_word_of_the_help_is_cut_and_no_line_is_too_long(
    monkeypatch: pytest.MonkeyPatch, context: Any, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = context.get_help()
    assert max(map(len, text.splitlines())) <= columns
    shown = _words(text)
    for parameter in context.command.params:
        assert _words(parameter.help or "") in shown
    for below in getattr(context.command, "commands", {}).values():
        assert _words(_paragraphs(below)[0]) in shown
    _, examples, *explained = _paragraphs(context.command)
    assert all(f"  {line}\n" in text for line in examples.splitlines()[1:])
    assert all(_words(paragraph) in shown for paragraph in explained)


@pytest.mark.parametrize("context", COMMANDS)
def test_the_help_has_two_commands_to_copy_and_the_next_step(context: Any) -> None:
    _, examples, *explained = _paragraphs(context.command)
    mark, *lines = examples.splitlines()
    assert mark == "\b"
    commands = [line for line in lines if line.startswith("palimpsest ")]
    assert len(commands) >= 2
    assert any(line.startswith(context.command_path) for line in commands)
    assert any(word in " ".join(explained) for word in ("Next:", "Then", "Begin", "Start"))


def test_at_80_columns_the_summaries_take_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for context in _contexts(get_command(app), "palimpsest"):
        commands = getattr(context.command, "commands", {})
        _, _, listed = context.get_help().partition("\nCommands:\n")
        assert len(listed.splitlines()) == len(commands)


def test_code_in_the_help_is_never_broken(
    palimpsest: Palimpsest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = palimpsest("recommend", "--help").out.splitlines()
    assert any(line.endswith("`palimpsest list conjugations`. Ask") for line in lines)


def test_names_and_their_meaning_are_wrapped_to_the_terminal_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [("pig-latin", "Leading consonants move behind a ``·`` " + "and so on " * 6)]
    monkeypatch.delenv("COLUMNS", raising=False)
    assert definition_list(rows).count("\n") == 0
    monkeypatch.setenv("COLUMNS", "60")
    wrapped = definition_list(rows)
    assert max(map(len, wrapped.splitlines())) <= 60
    assert _words(wrapped) == _words(f"{rows[0][0]} {rows[0][1]}".replace("``", "`"))
