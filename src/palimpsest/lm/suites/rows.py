"""Rows of a ``jsonl`` suite: what a line may hold, and what is wrong with one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.prompts import Message, Prompt

T = TypeVar("T")

MOST_SHOWN = 5
"""How many mistakes a message lists."""

A_LINE = '{"id": "1", "prompt": "5 + 7 =", "answers": {"sums": ["12"]}}'
"""The shortest line there can be."""


def _whole(text: str) -> str:
    # JSON can escape what no file, terminal or tokenizer can write.
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("string_unicode", "half of a surrogate pair") from None
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("empty", "empty")
    return text


def _not_empty(value: T) -> T:
    # Not min_length, which also complains when the items themselves are at fault.
    if not value:
        raise PydanticCustomError("empty", "empty")
    return value


def _several(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) < max(2, len(value)):
        raise PydanticCustomError("several", "expected two or more different ones")
    return value


def _misplaced(field: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("misplaced", message, {"field": field})


def _number_as_text(value: Any) -> Any:
    # Not floats: 0.10 would come back as 0.1. Not booleans, which Python counts as whole numbers.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


Whole = Annotated[str, AfterValidator(_whole)]
Filled = Annotated[Whole, AfterValidator(_filled)]
Text = Annotated[Filled, BeforeValidator(_number_as_text)]
Texts = Annotated[tuple[Text, ...], AfterValidator(_not_empty)]
Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]


class MessageRow(BaseModel):
    """One chat message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: Whole


class Row(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Text
    """Identifies the example; its versions in other languages share it."""

    prompt: Filled | None = None
    """Text to continue; either this or messages."""

    messages: Annotated[tuple[MessageRow, ...], AfterValidator(_not_empty)] | None = None
    """A chat that waits for its next answer."""

    answers: Annotated[dict[Filled, Texts], AfterValidator(_not_empty)]
    """Accepted answers for each ability."""

    lang: Name | None = None
    """The language of the prompt."""

    group: Filled | None = None
    """The cell that it is reported in."""

    choices: Annotated[tuple[Text, ...], AfterValidator(_several)] | None = None
    """The answers to choose among by likelihood, where the model can say it."""

    scorer: Filled | None = None
    """What says to which ability an answer belongs."""

    @model_validator(mode="after")
    def _asks_once(self) -> Self:
        if self.prompt is not None and self.messages is not None:
            raise _misplaced("messages", "comes with 'prompt'; keep one of them")
        if self.prompt is None and self.messages is None:
            raise _misplaced("prompt", "missing, and so is 'messages'")
        if self.messages is not None and self.messages[-1].role != "user":
            raise _misplaced("messages", "the last one must have the role 'user'")
        return self

    @property
    def asked(self) -> Prompt:
        """The prompt or the messages."""
        if self.prompt is not None:
            return self.prompt
        return tuple(Message(each.role, each.content) for each in self.messages or ())


class PromptRow(Row):
    """A line that need not have answers, for what asks but does not score."""

    answers: dict[Filled, Texts] = Field(default_factory=dict)


class Numbered(NamedTuple):
    """A row with the number of its line, from 1."""

    line: int
    row: Row


def read_rows(
    path: Path, content: bytes, *, kind: type[Row] = Row, example: str = A_LINE
) -> list[Numbered]:
    """Parse a file's lines; blank ones are skipped.

    Args:
        path: Named in messages.
        content: The file, in UTF-8. A byte order mark and Windows line ends do not matter.
        kind: What a line may hold.
        example: Shown with mistakes.

    Raises:
        UserError: Some lines are malformed. The message names the first :data:`MOST_SHOWN`.
    """
    rows: list[Numbered] = []
    mistakes: list[str] = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(Numbered(number, kind.model_validate(parse_object(line))))
        except ValidationError as error:
            mistakes += [f"{path}, line {number}{_said(each)}" for each in error.errors()]
        except ValueError as error:
            mistakes.append(f"{path}, line {number}: {error}")
    report(mistakes, hint=f"A line looks like: {example}")
    return rows


def report(mistakes: list[str], *, hint: str) -> None:
    """Raise :class:`UserError` with the first few mistakes, if there are any."""
    if not mistakes:
        return
    more = len(mistakes) - MOST_SHOWN
    lines = mistakes[:MOST_SHOWN] + ([f"… and {more} more."] if more > 0 else [])
    raise UserError("\n".join(map(_printable, lines)), hint=hint)


def _printable(text: str) -> str:
    """Return the text with everything escaped that a terminal would act on or fail to show."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def parse_object(line: bytes) -> dict[str, Any]:
    """Return a line's object.

    Raises:
        ValueError: The line is not UTF-8, not JSON, or something else than an object.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte 0x{line[error.start]:02x}). Save it as UTF-8.") from None
    try:
        value = json.loads(text, object_pairs_hook=_distinct, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} (column {error.colno}).") from None
    except RecursionError:
        raise ValueError("not JSON that can be read: nested too deeply.") from None
    if not isinstance(value, dict):
        raise ValueError("not an object in braces.")
    return value


def _integer(digits: str) -> int:
    if len(digits) > 4300:  # more than Python converts
        raise ValueError(f"the number {digits[:9]}… is too long. Write it as text, in quotes.")
    return int(digits)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the field '{key}' comes twice.")
        found[key] = value
    return found


# Where the words of pydantic would puzzle someone who writes no Python.
_SAID = {
    "missing": "missing.",
    "dict_type": 'expected an object in braces, {"ability": ["text"]}.',
    "tuple_type": "expected a list in brackets.",
    "empty": "empty.",
    "string_unicode": "half of a surrogate pair, which is no character.",
    "string_pattern_mismatch": "expected a language tag of letters, digits and hyphens.",
}


def _said(error: ErrorDetails) -> str:
    """Return the field and what is wrong with it, in the words of someone who reads the file."""
    place = ".".join(str(part)[:60] for part in error["loc"] if part != "[key]")
    place = place or error.get("ctx", {}).get("field", "")
    return f", field {place}: {_problem(error)}" if place else f": {_problem(error)}"


def _problem(error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            known = list(Row.model_fields if len(error["loc"]) == 1 else MessageRow.model_fields)
            guess = did_you_mean(str(error["loc"][-1]), known)
            return f"unknown.{guess} The fields are: {', '.join(known)}."
        case "string_type" if isinstance(error["input"], float):
            return f"write the number {error['input']} as text, in quotes."
        case "string_type":
            return f"expected text, not {json.dumps(error['input'])[:40]}."
        case kind if kind in _SAID:
            return _SAID[kind]
        case _:
            return f"{error['msg'][0].lower()}{error['msg'][1:]}."
