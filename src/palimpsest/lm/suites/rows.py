"""The suite ``rows``: a table of one's own, turned into prompts and answers by templates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from palimpsest.errors import UserError, did_you_mean, raise_mistakes
from palimpsest.files import digest
from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.scoring import DEFAULT_SCORER, scorer_class
from palimpsest.lm.suites.jsonl import DEFAULT_GROUP, verdict_of
from palimpsest.lm.suites.limits import chance_of, n_tokens_for, stops_for
from palimpsest.lm.suites.row_templates import (
    HINT,
    RowTemplate,
    RowTemplates,
    check_keys,
    for_keys,
)
from palimpsest.lm.suites.suite import Dotted, Example, HumanLabel, Suite
from palimpsest.lm.suites.tables import SourceRow, Table, is_saved_dataset, read_table

ABILITY = "answer"
"""What the suite's one ability is called."""

_NONE: Mapping[str, str] = MappingProxyType({})


def build(
    file: Path,
    *,
    prompt: str | None = None,
    prompts: Annotated[Mapping[str, str], Dotted("prompt")] = _NONE,
    messages: str | None = None,
    chats: Annotated[Mapping[str, str], Dotted("messages")] = _NONE,
    answer: str = "{answer}",
    answers: Annotated[Mapping[str, str], Dotted("answer")] = _NONE,
    choices: str | None = None,
    index: NonNegativeInt | None = None,
    ability: str | None = None,
    group: str | None = None,
    id: str | None = None,
    lang: str = "en",
    languages: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    form: str | None = None,
    forms: Annotated[Mapping[str, str], Dotted("form")] = _NONE,
    scorer: str = DEFAULT_SCORER,
    scorers: Annotated[Mapping[str, str], Dotted("scorer")] = _NONE,
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
        prompts: Templates for some languages or abilities: ``prompt.fr=…``, ``prompt.sums=…``.
        messages: In its place, a column with a list of messages, ``{column}``, or a template for
            what the user says in a chat.
        chats: The same for some languages or abilities: ``messages.fr=…``.
        answer: A template for the accepted answer; a column with a list gives several.
        answers: The same for some languages or abilities: ``answer.fr=…``.
        choices: A column with a list, or templates with ``|`` between.
        index: The answer is the place of a choice, counted from this number.
        ability: A template for what a row asks for, where one table has several abilities.
        group: A template for the cell; by default the ability.
        id: A template for what versions of one example share; by default the number of the row.
        lang: A template for the language, where one table has several.
        languages: Of the files.
        columns: What the columns are called, for a CSV or TSV file without a line that says it.
        form: What the answers look like; see ``palimpsest list forms``.
        forms: The same for some abilities or languages: ``form.sums=number``.
        scorer: How answers are scored.
        scorers: The same for some abilities or languages: ``scorer.sums=number``.
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
    list(map(scorer_class, (scorer, *scorers.values())))  # each must be one
    templates = _read_templates(
        {
            "prompt": prompt, "messages": messages, "answer": answer, "ability": ability,
            "group": group, "id": id, "lang": lang, "human": human, "human_answer": human_answer,
        },
        {"prompt": prompts, "messages": chats, "answer": answers},
        choices,
    )  # fmt: skip
    tables = dict(_tables(file, languages, templates, columns))
    others = tables if shots is None else _tables(shots, languages, templates, columns)
    worked = _Shots(num_shots, shots_seed, shots is None, str(shots or file))
    worked.fill(templates, dict(others) if num_shots else {})
    plan = _Plan(templates, index, (form, forms), (scorer, scorers), worked)
    rows = [each for name, table in tables.items() for each in plan.rows(table, name)]
    examples = _checked(rows, templates.keyed, {"form": forms, "scorer": scorers})
    source = source or _source_of(examples)
    limits = _limits(examples, max_new_tokens, "\n\n" if stop is None and num_shots else stop)
    default = limits.get(scorer) or next(iter(limits.values()))
    limited = [_limited(each, limits, default) for each in examples]
    return Suite(
        name=f"rows:{file}",
        examples=_with_source(limited, source, file),
        source_language=source,
        max_new_tokens=default[0],
        stop=default[1],
        chance=chance_of([example for example in examples if example.language == source]),
        description=f"The rows of {file.name}.",
        parameters=_parameters(tables.values(), templates, worked),
    )


def _parameters(
    tables: Iterable[Table], templates: RowTemplates, worked: _Shots
) -> Mapping[str, Any]:
    return {
        "files": {table.name: table.sha256 for table in tables},
        "templates": templates.texts,
        "shots": {"n": worked.n, "seed": worked.seed, "file": worked.file},
    }


def _read_templates(
    texts: Mapping[str, str | None], keyed: Mapping[str, Mapping[str, str]], choices: str | None
) -> RowTemplates:
    asks = [name for name in ("prompt", "messages") if texts[name] is not None or keyed[name]]
    if len(asks) != 1:
        raise UserError("The suite 'rows' needs either prompt= or messages=.", hint=HINT)
    if (texts["human"] is None) != (texts["human_answer"] is None):
        raise UserError(
            "The options human= and human_answer= of the suite 'rows' belong together.",
            hint="Name the column of the label and that of the answer that was labelled.",
        )
    return RowTemplates.of(texts, keyed, choices)


def _source_of(examples: Sequence[Example]) -> str:
    present = dict.fromkeys(example.language for example in examples)
    return "en" if "en" in present else next(iter(present), "en")


_Limits = tuple[int, tuple[str, ...]]
"""How much an answer may say, and where it ends."""


def _limits(
    examples: Sequence[Example], max_new_tokens: int | None, stop: str | None
) -> dict[str, _Limits]:
    """Return the limits of answers by scorer."""
    texts: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        texts[example.scorer] += example.right
    found = {}
    for name, theirs in texts.items():
        reads_on = scorer_class(name).reads_on
        n_tokens = max_new_tokens or n_tokens_for(theirs, reads_on=reads_on)
        found[name] = n_tokens, stops_for(stop, theirs, reads_on=reads_on)
    return found


def _limited(example: Example, limits: Mapping[str, _Limits], default: _Limits) -> Example:
    n_tokens, stop = limits[example.scorer]
    if (n_tokens, stop) == default:
        return example
    return replace(example, max_new_tokens=n_tokens, stop=stop)


def _tables(
    file: Path,
    languages: Sequence[str] | None,
    templates: RowTemplates,
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
    abilities: dict[str, str] = field(default_factory=dict)
    """Of each row by its id, where the table has several."""

    def fill(self, templates: RowTemplates, tables: Mapping[str, Table]) -> None:
        """Take the rows of tables; those without an id or a language are left out."""
        for name, table in tables.items():
            for number, row in enumerate(table.rows):
                try:
                    language = name or templates.by_name["lang"].render(row)
                    identity = templates.identity(number, row)
                    ability = _ability(templates, row)
                except ValueError:
                    continue
                self.abilities.setdefault(identity, ability)
                self.by_language.setdefault(language, {}).setdefault(identity, row)

    def before(self, identity: str, language: str, ability: str) -> list[SourceRow]:
        """Return the rows that are worked before one of a language and ability."""
        if self.n == 0:
            return []
        only = next(iter(self.by_language.values()), {}) if len(self.by_language) < 2 else {}
        known = self.by_language.get(language, {} if self.of_the_rows else only)
        ids = [each for each in self._shared if each in known and self.abilities[each] == ability]
        if self.of_the_rows and identity in ids:
            ids.remove(identity)
        if len(ids) < self.n:
            raise UserError(
                f"{self.file} has {len(ids)} rows to work before a prompt in '{language}'"
                f"{'' if ability == ABILITY else f' for {ability}'}, fewer than "
                f"num_shots={self.n}.",
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

    templates: RowTemplates
    index: int | None
    forms: tuple[str | None, Mapping[str, str]]
    """For all, and for some languages or abilities."""
    scorers: tuple[str, Mapping[str, str]]
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
        group = self.templates.by_name.get("group", self.templates.by_name.get("ability"))
        identity = self.templates.identity(number, row)
        language = language or self.templates.by_name["lang"].render(row)
        ability = _ability(self.templates, row)
        keys = (language, ability)
        form = for_keys("form", *self.forms, keys)
        example = Example(
            source_id=identity,
            cell=DEFAULT_GROUP if group is None else group.render(row),
            language=language,
            prompt=self._prompt(row, self.shots.before(identity, *keys), keys),
            answers={ability: self._answers(row, choices, keys)},
            choices=choices,
            scorer=for_keys("scorer", *self.scorers, keys) or DEFAULT_SCORER,
            forms={} if form is None else {ability: form},
            human=tuple(self._human(row)),
        )
        example.scorer_of(example.right, ())
        return example

    def _choices(self, row: SourceRow) -> tuple[str, ...]:
        return tuple(text for each in self.templates.choices for text in each.listed(row))

    def _template(self, option: str, keys: Sequence[str]) -> RowTemplate:
        found = self.templates.get(option, keys)
        if found is None:
            raise ValueError(f"{option}: there is none for {' or '.join(keys)}.")
        return found

    def _answers(
        self, row: SourceRow, choices: Sequence[str], keys: Sequence[str]
    ) -> tuple[str, ...]:
        texts = self._template("answer", keys).listed(row)
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

    def _prompt(self, row: SourceRow, worked: Sequence[SourceRow], keys: Sequence[str]) -> Prompt:
        if "messages" not in self.templates:
            template = self._template("prompt", keys)
            turns = [
                f"{template.render(each)} {self._answers(each, self._choices(each), keys)[0]}"
                for each in worked
            ]
            return "\n\n".join([*turns, template.render(row)])
        said = [turn for each in worked for turn in self._turns(each, keys)]
        first, *rest = _messages(self._template("messages", keys), row)
        is_system = first.role == "system"
        return (first, *said, *rest) if is_system else (*said, first, *rest)

    def _turns(self, row: SourceRow, keys: Sequence[str]) -> tuple[Message, ...]:
        """Return a worked example as turns of a chat."""
        answer = self._answers(row, self._choices(row), keys)[0]
        asked = _messages(self._template("messages", keys), row)
        said = (each for each in asked if each.role != "system")
        return (*said, Message("assistant", answer))


def _ability(templates: RowTemplates, row: SourceRow) -> str:
    template = templates.by_name.get("ability")
    return ABILITY if template is None else template.render(row)


def _messages(template: RowTemplate, row: SourceRow) -> tuple[Message, ...]:
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


def _checked(rows: Sequence[_Row], *keyed: Mapping[str, Mapping[str, object]]) -> list[Example]:
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
    raise_mistakes(mistakes, hint=HINT)
    examples = [row.example for row in rows if row.example is not None]
    for options in keyed:
        check_keys(options, [key for each in examples for key in (each.language, *each.answers)])
    return examples


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
