"""The suite ``jsonl``: the user's own prompts, with the answers of every ability."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from palimpsest.errors import UserError, did_you_mean, raise_mistakes
from palimpsest.files import lines_of, parse_object, read_bytes
from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.scoring import DEFAULT_SCORER, scorer_class
from palimpsest.lm.suites.limits import chance_of, n_tokens_for, stops_for
from palimpsest.lm.suites.suite import Example, HumanLabel, Suite

T = TypeVar("T")

DEFAULT_LANGUAGE = "en"
DEFAULT_GROUP = "all"

MOST_BYTES = 256 * 2**20
"""The largest file; its rows take about ten times as much memory."""

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


_VERDICTS = {
    **dict.fromkeys(("right", "yes", "true", "correct", "1"), True),
    **dict.fromkeys(("wrong", "no", "false", "incorrect", "0"), False),
}


def verdict_of(label: object) -> bool:
    """Return whether a label of people calls an answer right.

    Raises:
        PydanticCustomError: It is no such label; a ``ValueError``.

    Example:
        >>> verdict_of("Yes"), verdict_of(0)
        (True, False)
    """
    found = _VERDICTS.get(str(label).strip().casefold())
    if found is None:
        raise PydanticCustomError("label", "expected right or wrong (or yes, no, 1, 0)")
    return found


Whole = Annotated[str, AfterValidator(_whole)]
Filled = Annotated[Whole, AfterValidator(_filled)]
Text = Annotated[Filled, BeforeValidator(_number_as_text)]
Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]


class AcceptedRow(BaseModel):
    """The accepted answers of an ability, with their form; a list of texts is short for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accept: tuple[Text, ...] = ()
    form: Filled | None = None

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"accept": value}

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.accept and self.form is None:
            raise PydanticCustomError("empty", "empty")
        return self


class MessageRow(BaseModel):
    """One chat message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: Whole


class HumanRow(BaseModel):
    """An answer and whether people call it right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answer: Whole
    label: Annotated[bool, BeforeValidator(verdict_of)]


class ExampleRow(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Text
    """Identifies the example; its versions in other languages share it."""

    prompt: Filled | None = None
    """Text to continue; either this or messages."""

    messages: Annotated[tuple[MessageRow, ...], AfterValidator(_not_empty)] | None = None
    """A chat that waits for its next answer."""

    answers: Annotated[dict[Filled, AcceptedRow], AfterValidator(_not_empty)]
    """Accepted answers for each ability, and what they look like."""

    lang: Name | None = None
    """The language of the prompt."""

    group: Filled | None = None
    """The cell that it is reported in."""

    choices: Annotated[tuple[Text, ...], AfterValidator(_several)] | None = None
    """The answers to choose among by likelihood, where the model can say it."""

    scorer: Filled | None = None
    """What says to which ability an answer belongs."""

    human: tuple[HumanRow, ...] = ()
    """Answers that people have judged: the scorer is held against them."""

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
    def language(self) -> str:
        """The language, said or not."""
        return self.lang or DEFAULT_LANGUAGE

    @property
    def accepted(self) -> dict[str, tuple[str, ...]]:
        """The texts that are accepted for each ability."""
        return {ability: each.accept for ability, each in self.answers.items()}

    @property
    def asked(self) -> Prompt:
        """The prompt or the messages."""
        if self.prompt is not None:
            return self.prompt
        return tuple(Message(each.role, each.content) for each in self.messages or ())


class PromptRow(ExampleRow):
    """A line that need not have answers, for what asks but does not score."""

    answers: dict[Filled, AcceptedRow] = Field(default_factory=dict)


class NumberedRow(NamedTuple):
    """A row with the number of its line, from 1."""

    line: int
    row: ExampleRow


def build(
    file: Path,
    *,
    ability: str | None = None,
    source: str | None = None,
    max_new_tokens: PositiveInt | None = None,
    stop: str | None = None,
    scorer: str = DEFAULT_SCORER,
) -> Suite:
    r"""Your own prompts: one JSON object a line, with id, prompt, answers, lang and group.

    Args:
        file: Lines of ``{"id", "prompt" or "messages", "answers": {ability: [text, …]}, "lang",
            "group", "choices", "scorer"}``; the last four may be left out: they mean ``en``,
            ``all``, answers that are generated, and ``prefix``. For the answers of an ability there
            may stand ``{"accept": [text, …], "form": "number"}``. Answers that people have judged,
            ``"human": [{"answer": text, "label": "right" or "wrong"}, …]``, say how far the scorer
            agrees with them.
        ability: The one under test; by default the first of the first row.
        source: The language of the plain prompts; by default ``en`` if there is any, else that of
            the first row.
        max_new_tokens: How much the model may say; by default 10 more than the longest answer has
            bytes, which is enough for any tokenizer that works on bytes, or 256 where a scorer
            reads what stands behind a worked answer.
        stop: An answer ends before it; ``\n`` means a line break, and nothing at all that there is
            no such text. By default a line break, unless some answer has one, or a scorer reads
            further.
        scorer: Scores all answers whose row names none.

    Raises:
        UserError: The file cannot be read or used; the message names line and field.
    """
    path = file.expanduser()
    content = read_bytes(
        path, most_bytes=MOST_BYTES, hint="Name a file with one JSON object a line."
    )
    rows = read_rows(path, content)
    if not rows:
        raise UserError(f"{path} has no examples.", hint=f"Write one a line: {A_LINE}")
    ability = _tested(rows, ability, path)
    if source is None:
        source = source_language(rows)
    elif not any(row.language == source for _, row in rows):
        languages = ", ".join(dict.fromkeys(row.language for _, row in rows))
        raise UserError(
            f"No row of {path} has the language '{source}'.", hint=f"It has: {languages}."
        )
    scorer_class(scorer)
    _check(rows, ability, source, path)
    groups = {row.id: row.group for _, row in rows if row.language == source}
    examples = tuple(_example(row, ability, groups[row.id], scorer) for _, row in rows)
    _check_scorers(rows, examples, path)
    texts = [text for _, row in rows for each in row.accepted.values() for text in each]
    reads_on = any(scorer_class(each.scorer).reads_on for each in examples)
    return Suite(
        name=f"jsonl:{file}",
        examples=examples,
        source_language=source,
        max_new_tokens=max_new_tokens or n_tokens_for(texts, reads_on=reads_on),
        stop=stops_for(stop, texts, reads_on=reads_on),
        chance=chance_of([example for example in examples if example.language == source]),
        description=f"The prompts in {path.name}.",
        parameters={
            "file": str(file),
            "sha256": hashlib.sha256(content).hexdigest(),
            "ability": ability,
            "source": source,
        },
    )


def read_rows(
    path: Path, content: bytes, *, kind: type[ExampleRow] = ExampleRow, example: str = A_LINE
) -> list[NumberedRow]:
    """Parse a file's lines; blank ones are skipped.

    Args:
        path: Named in messages.
        content: The file, in UTF-8. A byte order mark and Windows line ends do not matter.
        kind: What a line may hold.
        example: Shown with mistakes.

    Raises:
        UserError: Some lines are malformed. The message names the first few.
    """
    rows: list[NumberedRow] = []
    mistakes: list[str] = []
    for number, line in enumerate(lines_of(content), start=1):
        if not line.strip():
            continue
        try:
            rows.append(NumberedRow(number, kind.model_validate(parse_object(line))))
        except ValidationError as error:
            mistakes += [f"{path}, line {number}{_said(each)}" for each in error.errors()]
        except ValueError as error:
            mistakes.append(f"{path}, line {number}: {error}")
    raise_mistakes(mistakes, hint=f"A line looks like: {example}")
    return rows


def source_language(rows: Sequence[NumberedRow]) -> str:
    """Return the language of the plain prompts: English, or that of the first row."""
    languages = dict.fromkeys(row.language for _, row in rows)
    return DEFAULT_LANGUAGE if DEFAULT_LANGUAGE in languages else next(iter(languages), "")


def repeated_ids(rows: Sequence[NumberedRow], path: Path) -> list[str]:
    """Return a complaint for every row whose id was there before in its language."""
    seen: dict[tuple[str, str], int] = {}
    mistakes = []
    for line, row in rows:
        before = seen.setdefault((row.id, row.language), line)
        if before != line:
            mistakes.append(
                f"{path}, line {line}, field id: '{row.id}' in '{row.language}' is in line "
                f"{before} too."
            )
    return mistakes


def _tested(rows: Sequence[NumberedRow], ability: str | None, path: Path) -> str:
    """Return the ability under test."""
    if ability is None:
        return next(iter(rows[0].row.answers))
    known = dict.fromkeys(name for _, row in rows for name in row.answers)
    if ability not in known:
        raise UserError(
            f"No row of {path} has answers for the ability '{ability}'."
            f"{did_you_mean(ability, known)}",
            hint=f"It has: {', '.join(known)}.",
        )
    return ability


def _check(rows: Sequence[NumberedRow], ability: str, source: str, path: Path) -> None:
    """Raise :class:`UserError` for rows that do not go together."""
    mistakes = repeated_ids(rows, path)
    sources = {row.id: (line, row) for line, row in reversed(rows) if row.language == source}
    for line, row in rows:
        place = f"{path}, line {line}, field"
        if ability not in row.answers:
            mistakes.append(f"{place} answers: nothing for '{ability}', the ability under test.")
        if row.id not in sources:
            mistakes.append(
                f"{place} id: '{row.id}' has no version in '{source}', the language of the plain "
                "prompts."
            )
            # Once is enough for all versions of it.
            sources[row.id] = (line, row)
        mistakes += _check_group(place, row, *sources[row.id])
        mistakes += _check_choices(place, row, ability)
    raise_mistakes(
        mistakes, hint="Rows of one id are versions of one example, each in its own language."
    )


def _check_group(place: str, row: ExampleRow, source_line: int, source: ExampleRow) -> list[str]:
    wanted = source.group or DEFAULT_GROUP
    if row.group in (None, wanted):
        return []
    return [f"{place} group: '{row.group}', but its version in line {source_line} has '{wanted}'."]


def _check_choices(place: str, row: ExampleRow, ability: str) -> list[str]:
    by_letter = (row.scorer or "").partition(":")[0] == "choice"
    if row.choices is None or by_letter or ability not in row.answers:
        return []
    if set(row.choices) & set(row.accepted[ability]):
        return []
    return [f"{place} choices: none of them is right, an answer for '{ability}'."]


def _check_scorers(rows: Sequence[NumberedRow], examples: Sequence[Example], path: Path) -> None:
    """Raise :class:`UserError` for scorers and forms that cannot judge their row's answers."""
    mistakes = []
    for (line, row), example in zip(rows, examples, strict=True):
        field = "scorer"
        try:
            if row.scorer is not None:
                scorer_class(row.scorer, in_file=True)
            field = "answers"
            example.scorer_of(example.right, example.intruding)
        except UserError as error:
            mistakes.append(f"{path}, line {line}, field {field}: {error.message}")
            continue
        tested, *others = example.answers
        form = example.forms.get(tested)
        mistakes += [
            f"{path}, line {line}, field answers: '{tested}' and '{other}' have the same form, "
            f"'{form}', which tells neither from the other."
            for other in others
            if form is not None and example.forms.get(other) == form
        ]
    raise_mistakes(mistakes, hint="See: palimpsest list scorers; palimpsest list forms")


def _example(row: ExampleRow, ability: str, group: str | None, scorer: str) -> Example:
    forms = {name: each.form for name, each in row.answers.items() if each.form is not None}
    return Example(
        source_id=row.id,
        cell=group or DEFAULT_GROUP,
        language=row.language,
        prompt=row.asked,
        answers={ability: row.accepted[ability], **row.accepted},
        choices=row.choices or (),
        scorer=row.scorer or scorer,
        forms=forms,
        human=tuple(HumanLabel(each.answer, each.label) for each in row.human),
    )


# Where the words of pydantic would puzzle someone who writes no Python.
_SAID = {
    "missing": "missing.",
    "dict_type": 'expected an object in braces, {"ability": ["text"]}.',
    "tuple_type": "expected a list in brackets.",
    "model_type": "expected a list in brackets.",
    "empty": "empty.",
    "string_unicode": "half of a surrogate pair, which is no character.",
    "string_pattern_mismatch": "expected a language tag of letters, digits and hyphens.",
}


def _said(error: ErrorDetails) -> str:
    """Return the field and what is wrong with it, in the words of someone who reads the file."""
    place = ".".join(str(part)[:60] for part in error["loc"] if part not in ("[key]", "accept"))
    place = place or error.get("ctx", {}).get("field", "")
    return f", field {place}: {_problem(error)}" if place else f": {_problem(error)}"


def _problem(error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            kinds: dict[str, type[BaseModel]] = {
                "messages": MessageRow,
                "answers": AcceptedRow,
                "human": HumanRow,
            }
            known = list(kinds.get(str(error["loc"][0]), ExampleRow).model_fields)
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
