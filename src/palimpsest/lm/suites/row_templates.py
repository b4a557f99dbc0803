"""Templates of column names: how the rows of a table become texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.suites.limits import unescaped
from palimpsest.lm.suites.tables import SourceRow

T = TypeVar("T")

_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
HINT = "Columns stand in braces, such as prompt='Question: {question}\\nAnswer:'."


class RowTemplate:
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
        values = [part_of(row, name) for name in self.columns]
        blank = all(value is None or not str(value).strip() for value in values)
        if not text.strip() or (self.columns and blank):
            named = f" (column {', '.join(self.columns)})" if self.columns else ""
            raise ValueError(f"{self.option}{named}: gives nothing.")
        return text

    def says(self, row: SourceRow) -> bool:
        """Return whether any of its columns has something for a row."""
        return any(part_of(row, name) not in (None, "", []) for name in self.columns)

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
        return _plain(part_of(row, match[1]), f"{self.option} (column {match[1]})")

    def value(self, row: SourceRow) -> Any:
        """Return what the one column has that it consists of, if it does."""
        return part_of(row, self.column) if self.column else None


def part_of(row: SourceRow, name: str) -> Any:
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


@dataclass(frozen=True)
class RowTemplates:
    """The templates by option; those that were not given are not there."""

    by_name: Mapping[str, RowTemplate]
    keyed: Mapping[str, Mapping[str, RowTemplate]]
    """For some languages or abilities: option, then language or ability."""

    choices: tuple[RowTemplate, ...] = ()

    @classmethod
    def of(
        cls,
        texts: Mapping[str, str | None],
        keyed: Mapping[str, Mapping[str, str]],
        choices: str | None,
    ) -> RowTemplates:
        """Read the templates.

        Args:
            texts: By option.
            keyed: By option, and then by the language or ability that they are for.
            choices: Several with ``|`` between.

        Raises:
            UserError: A brace that belongs to no column.
        """
        return cls(
            {name: RowTemplate(name, text) for name, text in texts.items() if text is not None},
            {
                name: {key: RowTemplate(f"{name}.{key}", text) for key, text in theirs.items()}
                for name, theirs in keyed.items()
                if theirs
            },
            tuple(RowTemplate("choices", part) for part in choices.split("|")) if choices else (),
        )

    def __contains__(self, option: str) -> bool:
        return option in self.by_name or option in self.keyed

    def get(self, option: str, keys: Iterable[str] = ()) -> RowTemplate | None:
        """Return the template of an option for a row of this language and ability, if there is one.

        Raises:
            ValueError: There is one for the language and another one for the ability.
        """
        return for_keys(option, self.by_name.get(option), self.keyed.get(option, {}), keys)

    def identity(self, number: int, row: SourceRow) -> str:
        """Return what versions of a row share, whose number counts from 0."""
        return self.by_name["id"].render(row) if "id" in self.by_name else f"{number + 1:05}"

    @property
    def columns(self) -> dict[str, str]:
        """The columns that are named, with the option that names them first."""
        found: dict[str, str] = {}
        for template in self._all():
            for column in template.columns:
                found.setdefault(column, template.option)
        return found

    @property
    def texts(self) -> dict[str, str]:
        """The templates as written, by option."""
        return {template.option: template.text for template in self._all()}

    def _all(self) -> Iterator[RowTemplate]:
        yield from self.by_name.values()
        for theirs in self.keyed.values():
            yield from theirs.values()
        yield from self.choices


def for_keys(
    option: str, default: T | None, keyed: Mapping[str, T], keys: Iterable[str]
) -> T | None:
    """Return what an option has for a row of this language and ability, else the default.

    Raises:
        ValueError: It has something for the language, and something else for the ability.

    Example:
        >>> for_keys("scorer", "prefix", {"sums": "number"}, ("fr", "sums"))
        'number'
    """
    found = [key for key in dict.fromkeys(keys) if key in keyed]
    if len(found) > 1:
        listed = " and ".join(f"{option}.{key}=" for key in found)
        raise ValueError(f"{listed} are both for it; keep one, or use a column.")
    return keyed[found[0]] if found else default


def check_keys(keyed: Mapping[str, Mapping[str, object]], known: Iterable[str]) -> None:
    """Raise :class:`UserError` for a language or ability that an option names and no row has."""
    names = list(dict.fromkeys(known))
    for option, theirs in keyed.items():
        for key in theirs:
            if key not in names:
                raise UserError(
                    f"{option}.{key}= is for no row: none has the language or ability '{key}'."
                    f"{did_you_mean(key, names)}",
                    hint=f"There are: {', '.join(names)}.",
                )
