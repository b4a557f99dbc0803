"""The suite ``rows``: a table of one's own, turned into prompts and answers by templates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from palimpsest.errors import UserError, did_you_mean, raise_mistakes
from palimpsest.files import digest
from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.scoring import DEFAULT_SCORER, scorer_class
from palimpsest.lm.suites.jsonl import verdict_of
from palimpsest.lm.suites.limits import chance_of, n_tokens_for, stops_for, unescaped
from palimpsest.lm.suites.suite import Example, HumanLabel, Suite
from palimpsest.lm.suites.tables import SourceRow, Table, is_saved_dataset, read_table

ABILITY = "answer"
"""What the suite's one ability is called."""

_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
_HINT = "Columns stand in braces, such as prompt='Question: {question}\\nAnswer:'."


def build(
    file: Path,
    *,
    prompt: str | None = None,
    messages: str | None = None,
    answer: str = "{answer}",
    choices: str | None = None,
    index: NonNegativeInt | None = None,
    group: str = "all",
    id: str | None = None,
    lang: str = "en",
    languages: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    form: str | None = None,
    scorer: str = DEFAULT_SCORER,
    human: str | None = None,
    human_answer: str | None = None,
    shots: Path | None = None,
    num_shots: NonNegativeInt = 0,
    shots_seed: NonNegativeInt = 0,
    source: str | None = None,
    max_new_tokens: PositiveInt | None = None,
    stop: str | None = None,
) -> Suite:
    r"""Your own table: CSV, TSV, JSON lines, Parquet or a saved data set, by templates.

    Args:
        file: The table. With ``{lang}`` in its name there is one for each of ``languages``, and
            rows of the same number (or ``id``) are versions of one example.
        prompt: A template, in which ``{column}`` stands for what a row has; ``\n`` is a line break.
        messages: In its place, a column with a list of messages, ``{column}``, or a template for
            what the user says in a chat.
        answer: A template for the accepted answer; a column with a list gives several.
        choices: A column with a list, or templates with ``|`` between.
        index: The answer is the place of a choice, counted from this number.
        group: A template for the cell.
        id: A template for what versions of one example share; by default the number of the row.
        lang: A template for the language, where one table has several.
        languages: Of the files.
        columns: What the columns are called, for a CSV or TSV file without a line that says it.
        form: What the answers look like; see ``palimpsest list forms``.
        scorer: How answers are scored.
        human: A template for what people say of ``human_answer``, right or wrong; a column with a
            list for several. The scorer is held against them; where it gives nothing, nobody said.
        human_answer: A template for an answer that people have judged.
        shots: A table of worked examples with the same columns; by default the table itself.
        num_shots: Worked examples before each prompt, in its language, drawn without the row itself
            and its versions; in a chat they are turns.
        shots_seed: Seed of the draw, which is the same in all languages.
        source: The language of the plain prompts; by default ``en`` if there is any, else the
            first.
        max_new_tokens: How much the model may say; by default as for ``jsonl``.
        stop: An answer ends before it; by default as for ``jsonl``, or at a blank line where there
            are worked examples.

    Raises:
        UserError: The table cannot be read, a template names a column that it lacks, or gives
            nothing for a row; the message names file, row and column.
    """
    scorer_class(scorer)
    templates = _Templates.of(
        prompt=prompt, messages=messages, answer=answer, choices=choices, group=group, id=id,
        lang=lang, human=human, human_answer=human_answer,
    )  # fmt: skip
    tables = dict(_tables(file, languages, templates, columns))
    worked = _Shots(num_shots, shots_seed, shots is None, str(shots or file))
    if num_shots:
        drawn_from = (
            tables if shots is None else dict(_tables(shots, languages, templates, columns))
        )
        worked.fill(templates, drawn_from)
    plan = _Plan(templates, index, form, scorer, worked)
    rows = [each for name, table in tables.items() for each in plan.rows(table, name)]
    examples = _checked(rows)
    present = dict.fromkeys(example.language for example in examples)
    source = source or ("en" if "en" in present else next(iter(present), "en"))
    texts = [text for example in examples for text in example.right]
    reads_on = scorer_class(scorer).reads_on
    return Suite(
        name=f"rows:{file}",
        examples=_with_source(examples, source, file),
        source_language=source,
        max_new_tokens=max_new_tokens or n_tokens_for(texts, reads_on=reads_on),
        stop=("\n\n",) if stop is None and num_shots else stops_for(stop, texts, reads_on=reads_on),
        chance=chance_of([example for example in examples if example.language == source]),
        description=f"The rows of {file.name}.",
        parameters={
            "files": {table.name: table.sha256 for table in tables.values()},
            "templates": {name: each.text for name, each in templates.by_name.items()},
            "shots": {"n": num_shots, "seed": shots_seed, "file": str(shots or file)},
        },
    )


class _Template:
    """A text with columns in braces; two braces are one."""

    def __init__(self, option: str, text: str) -> None:
        self.option = option
        self.text = unescaped(text)
        if found := re.search("[{}]", _FIELD.sub("", self.text)):
            raise UserError(
                f"The template {option}={text!r} has a '{found[0]}' that belongs to no column.",
                hint="Write {COLUMN}, and double a brace that means itself.",
            )
        self.columns = tuple(name for name in _FIELD.findall(self.text) if name)
        self.column = self.columns[0] if self.text == f"{{{''.join(self.columns)}}}" else None
        """The one column that it consists of, whose lists are lists."""

    def render(self, row: SourceRow) -> str:
        """Return the text for a row.

        Raises:
            ValueError: It names a column with a list, or gives nothing: no text at all, or none
                of its columns has any.
        """
        text = _FIELD.sub(lambda match: self._field(match, row), self.text)
        values = [_part(row, name) for name in self.columns]
        blank = all(value is None or not str(value).strip() for value in values)
        if not text.strip() or (self.columns and blank):
            named = f" (column {', '.join(self.columns)})" if self.columns else ""
            raise ValueError(f"{self.option}{named}: gives nothing.")
        return text

    def says(self, row: SourceRow) -> bool:
        """Return whether any of its columns has something for a row."""
        return any(_part(row, name) not in (None, "", []) for name in self.columns)

    def listed(self, row: SourceRow) -> tuple[str, ...]:
        """Return the texts for a row: of a list, each of it.

        Raises:
            ValueError: There is none.
        """
        value = self.value(row)
        if not isinstance(value, list):
            return (self.render(row),)
        texts = tuple(_plain(each, self.option) for each in value)
        if not texts or not all(text.strip() for text in texts):
            raise ValueError(f"{self.option} (column {self.column}): a list with nothing in it.")
        return texts

    def _field(self, match: re.Match[str], row: SourceRow) -> str:
        if match[1] is None:
            return match[0][0]
        return _plain(_part(row, match[1]), f"{self.option} (column {match[1]})")

    def value(self, row: SourceRow) -> Any:
        """Return what the one column has that it consists of, if it does."""
        return _part(row, self.column) if self.column else None


def _part(row: SourceRow, name: str) -> Any:
    """Return what a column has; behind a point, a part of it, such as ``choices.text``."""
    if name in row.fields:
        return row.fields[name]
    value: Any = row.fields
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _plain(value: Any, option: str) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # what tables make of whole numbers where one is missing
    if isinstance(value, bool | int | float | str):
        return str(value)
    raise ValueError(
        f"{option}: a {type(value).__name__} cannot stand in a text; its parts are {{column.part}}."
    )


class _Templates(NamedTuple):
    """The templates by option; those that were not given are not there."""

    by_name: Mapping[str, _Template]
    choices: tuple[_Template, ...]

    @classmethod
    def of(cls, **texts: str | None) -> _Templates:
        """Take the options apart."""
        if (texts["prompt"] is None) == (texts["messages"] is None):
            raise UserError("The suite 'rows' needs either prompt= or messages=.", hint=_HINT)
        if (texts["human"] is None) != (texts["human_answer"] is None):
            raise UserError(
                "The options human= and human_answer= of the suite 'rows' belong together.",
                hint="Name the column of the label and that of the answer that was labelled.",
            )
        choices = texts.pop("choices")
        by_name = {name: _Template(name, text) for name, text in texts.items() if text is not None}
        parts = choices.split("|") if choices else []
        return cls(by_name, tuple(_Template("choices", part) for part in parts))

    def identity(self, number: int, row: SourceRow) -> str:
        """Return what versions of a row share, whose number counts from 0."""
        return self.by_name["id"].render(row) if "id" in self.by_name else f"{number + 1:05}"

    @property
    def columns(self) -> dict[str, str]:
        """The columns that are named, with the option that names them first."""
        found: dict[str, str] = {}
        for template in (*self.by_name.values(), *self.choices):
            for column in template.columns:
                found.setdefault(column, template.option)
        return found


def _tables(
    file: Path,
    languages: Sequence[str] | None,
    templates: _Templates,
    names: Sequence[str] | None,
) -> Iterator[tuple[str, Table]]:
    """Yield the tables by language; one for all has the language that its rows say."""
    if ("{lang}" in str(file)) != bool(languages):
        raise UserError(
            f"'{file}' and languages={'+'.join(languages or ())} do not go together.",
            hint="Write {lang} in the file's name where there is a file for each of languages=A+B.",
        )
    for language in languages or ("",):
        path = Path(str(file).replace("{lang}", language)).expanduser()
        _refuse_splits(path)
        roots = {column.partition(".")[0] for column in templates.columns}
        table = read_table(path, {*templates.columns, *roots}, names=names)
        for column, option in templates.columns.items():
            if not {column, column.partition(".")[0]} & {*table.columns}:
                raise UserError(
                    f"{path} has no column '{column}', which {option}= names."
                    f"{did_you_mean(column, table.columns)}",
                    hint=f"It has: {', '.join(table.columns) or 'none'}. If its first line is a "
                    "row already, name them: columns=A+B",
                )
        yield language, table


def _refuse_splits(path: Path) -> None:
    """Raise :class:`UserError` for a folder in which ``datasets`` saved several splits."""
    if path.is_dir() and not is_saved_dataset(path):
        splits = sorted(each.name for each in path.iterdir() if is_saved_dataset(each))
        raise UserError(
            f"{path} is a folder without rows of its own.",
            hint=f"Name one of its splits: {path / splits[0]}"
            if splits
            else "Name a file of rows.",
        )


@dataclass(frozen=True)
class _Shots:
    """Worked examples that come before a prompt, the same ones in every language."""

    n: int
    seed: int
    of_the_rows: bool
    """Whether they are drawn from the rows themselves."""
    file: str
    by_language: dict[str, dict[str, SourceRow]] = field(default_factory=dict)

    def fill(self, templates: _Templates, tables: Mapping[str, Table]) -> None:
        """Take the rows of tables; those without an id or a language are left out."""
        for name, table in tables.items():
            for number, row in enumerate(table.rows):
                try:
                    language = name or templates.by_name["lang"].render(row)
                    identity = templates.identity(number, row)
                except ValueError:
                    continue
                self.by_language.setdefault(language, {}).setdefault(identity, row)

    def before(self, identity: str, language: str) -> list[SourceRow]:
        """Return the rows that are worked before one of a language."""
        if self.n == 0:
            return []
        only = next(iter(self.by_language.values()), {}) if len(self.by_language) < 2 else {}
        known = self.by_language.get(language, {} if self.of_the_rows else only)
        ids = [each for each in self._shared if each in known]
        if self.of_the_rows and identity in ids:
            ids.remove(identity)
        if len(ids) < self.n:
            raise UserError(
                f"{self.file} has {len(ids)} rows to work before a prompt in '{language}', fewer "
                f"than num_shots={self.n}.",
                hint="Ask for fewer, or name another table with shots=FILE.",
            )
        key = int(digest(identity), 16)
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(key,)))
        return [known[ids[drawn]] for drawn in rng.choice(len(ids), size=self.n, replace=False)]

    @cached_property
    def _shared(self) -> list[str]:
        """The ids that there are in all languages."""
        first, *others = self.by_language.values() or [{}]
        return [each for each in first if all(each in other for other in others)]


class _Row(NamedTuple):
    """A row as an example, or what is wrong with it."""

    place: str
    example: Example | None
    mistake: str = ""


@dataclass(frozen=True)
class _Plan:
    """How rows become examples."""

    templates: _Templates
    index: int | None
    form: str | None
    scorer: str
    shots: _Shots

    def rows(self, table: Table, language: str) -> Iterator[_Row]:
        """Yield the rows of one table."""
        for number, row in enumerate(table.rows):
            try:
                yield _Row(row.place, self._example(number, row, language))
            except (ValueError, UserError) as error:
                said = error.message if isinstance(error, UserError) else str(error)
                yield _Row(row.place, None, said)

    def _example(self, number: int, row: SourceRow, language: str) -> Example:
        choices = self._choices(row)
        by_name = self.templates.by_name
        identity = self.templates.identity(number, row)
        language = language or by_name["lang"].render(row)
        example = Example(
            source_id=identity,
            cell=by_name["group"].render(row),
            language=language,
            prompt=self._prompt(row, self.shots.before(identity, language)),
            answers={ABILITY: self._answers(row, choices)},
            choices=choices,
            scorer=self.scorer,
            forms={} if self.form is None else {ABILITY: self.form},
            human=tuple(self._human(row)),
        )
        example.scorer_of(example.right, ())
        return example

    def _choices(self, row: SourceRow) -> tuple[str, ...]:
        return tuple(text for each in self.templates.choices for text in each.listed(row))

    def _answers(self, row: SourceRow, choices: Sequence[str]) -> tuple[str, ...]:
        texts = self.templates.by_name["answer"].listed(row)
        if self.index is None:
            return texts
        [text] = texts
        if not text.strip().isdecimal() or not 0 <= int(text) - self.index < len(choices):
            raise ValueError(
                f"answer: '{text}' is no place of {len(choices)} choices from {self.index} on."
            )
        return (choices[int(text) - self.index],)

    def _human(self, row: SourceRow) -> Iterator[HumanLabel]:
        by_name = self.templates.by_name
        if "human" not in by_name or not by_name["human"].says(row):
            return
        labels, answers = (by_name[name].listed(row) for name in ("human", "human_answer"))
        if len(labels) != len(answers):
            raise ValueError(f"human: {len(labels)} labels of {len(answers)} answers.")
        for label, answer in zip(labels, answers, strict=True):
            try:
                yield HumanLabel(answer, verdict_of(label))
            except ValueError as error:
                raise ValueError(f"human: '{label}': {error}.") from None

    def _prompt(self, row: SourceRow, worked: Sequence[SourceRow]) -> Prompt:
        by_name = self.templates.by_name
        if "messages" not in by_name:
            turns = [
                f"{by_name['prompt'].render(each)} {self._answers(each, self._choices(each))[0]}"
                for each in worked
            ]
            return "\n\n".join([*turns, by_name["prompt"].render(row)])
        said = [turn for each in worked for turn in self._turns(each)]
        first, *rest = _messages(by_name["messages"], row)
        is_system = first.role == "system"
        return (first, *said, *rest) if is_system else (*said, first, *rest)

    def _turns(self, row: SourceRow) -> tuple[Message, ...]:
        """Return a worked example as turns of a chat."""
        answer = self._answers(row, self._choices(row))[0]
        asked = _messages(self.templates.by_name["messages"], row)
        said = (each for each in asked if each.role != "system")
        return (*said, Message("assistant", answer))


def _messages(template: _Template, row: SourceRow) -> tuple[Message, ...]:
    value: Any = template.value(row)
    if not isinstance(value, list):
        return (Message("user", template.render(row)),)
    try:
        messages = tuple(Message(each["role"], each["content"]) for each in value)
    except (TypeError, KeyError):
        messages = ()
    if not all(
        isinstance(each.content, str) and each.role in ("system", "user", "assistant")
        for each in messages
    ) or not (messages and messages[-1].role == "user"):
        raise ValueError(
            "messages: expected a list of objects with role and content, the last one of the user."
        )
    return messages


def _checked(rows: Sequence[_Row]) -> list[Example]:
    mistakes = [f"{row.place}: {row.mistake}" for row in rows if row.example is None]
    seen: dict[tuple[str, str], str] = {}
    for row in rows:
        if row.example is not None:
            key = (row.example.source_id, row.example.language)
            before = seen.setdefault(key, row.place)
            if before != row.place:
                mistakes.append(
                    f"{row.place}: the id '{key[0]}' in '{key[1]}' is that of {before} too."
                )
    raise_mistakes(mistakes, hint=_HINT)
    return [row.example for row in rows if row.example is not None]


def _with_source(examples: Sequence[Example], source: str, file: Path) -> tuple[Example, ...]:
    """Return the examples, all in the cell of their version in the source language."""
    cells = {each.source_id: each.cell for each in examples if each.language == source}
    lost = [each for each in examples if each.source_id not in cells]
    if lost:
        raise UserError(
            f"{file}: the row '{lost[0].source_id}' in '{lost[0].language}' has no version in "
            f"'{source}', the language of the plain prompts.",
            hint="Give all versions of a row one id=, or name another language with source=.",
        )
    wrong = [each for each in examples if cells[each.source_id] != each.cell]
    if wrong:
        raise UserError(
            f"{file}: the row '{wrong[0].source_id}' in '{wrong[0].language}' is of the group "
            f"'{wrong[0].cell}', its version in '{source}' of '{cells[wrong[0].source_id]}'.",
            hint="Versions of one row belong to one group.",
        )
    return tuple(examples)
