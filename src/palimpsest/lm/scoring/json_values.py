"""Scorer by JSON: a value, a schema, or the call of a tool, wherever an answer has it."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from palimpsest.errors import UserError
from palimpsest.lm.scoring.scorers import Scorer
from palimpsest.records import Outcome

_MOST_CHARACTERS = 2**20
"""Of an answer that is looked through; a longer one has no JSON."""

_MOST_VALUES = 64
"""Values in one answer that are looked at."""

_FENCE = re.compile(r"```[ \t]*\w*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_CALL_TAG = re.compile(r"<(tool_call|function_call|toolcall)>(.*?)(?:</\1>|\Z)", re.DOTALL)
_CALL_MARKS = re.compile(r"<\|python_tag\|>|\[TOOL_CALLS\]|<\|tool_call\|>|Action:\s*")


class JsonScorer(Scorer):
    r"""A JSON value equal to an accepted one, up to key order and number format.

    ``json:schema`` takes accepted texts for JSON schemas, ``json:tool`` for tool calls: an object
    with ``name`` and ``arguments``, or a list of such in any order. An answer may fence its JSON or
    speak around it; of several different values none is chosen.

    Example:
        >>> scorer = JsonScorer(right=('{"a": 1, "b": [2]}',), intruding=())
        >>> answers = ('Sure! ```json\\n{"b": [2.0], "a": 1}\\n```', '{"a": 1', '{"a": 1}')
        >>> [scorer.outcome(answer) for answer in answers]
        ['right', 'broken', 'broken']
    """

    arguments = ("schema", "tool")
    reads_on = True
    of_texts = False

    def set_up(self) -> None:
        """Read the accepted JSON."""
        make = {"": _equal_to, "schema": _fitting, "tool": _calling}[self.argument]
        self._right = [make(_accepted(text, self.argument)) for text in self.right]
        self._intruding = [make(_accepted(text, self.argument)) for text in self.intruding]

    def outcome(self, answer: str) -> Outcome:
        """Return whose value the answer has."""
        if self.argument == "tool":
            values = tool_calls(answer)
        else:
            values = json_values(answer)
            values = values[:1] if all(_same(values[0], other) for other in values) else []
        if not values:
            return "broken"
        said = values if self.argument == "tool" else values[0]
        return self.of_side(
            any(accepts(said) for accepts in self._right),
            any(accepts(said) for accepts in self._intruding),
        )

    @property
    def ambiguous(self) -> bool:
        """Whether an accepted text stands on both sides; whether two schemas meet is not told."""
        if self.argument == "schema":
            return not set(self.right).isdisjoint(self.intruding)
        return super().ambiguous


def json_values(answer: str) -> list[Any]:
    """Return the JSON values of an answer: all of it, else what is fenced, else what it contains.

    Of what it contains, objects and lists count; an object with a key twice, ``NaN`` and
    ``Infinity`` are no JSON.

    Example:
        >>> json_values("12"), json_values('First {"a": 1}, then [2].'), json_values("a 12")
        ([12], [{'a': 1}, [2]], [])
    """
    if len(answer) > _MOST_CHARACTERS:
        return []
    for text in (answer, *_FENCE.findall(answer)[:_MOST_VALUES]):
        try:
            return [_parsed(text)]
        except ValueError:
            pass
    return list(_contained(answer))


def tool_calls(answer: str) -> list[Any]:
    """Return the tool calls of an answer as ``[name, arguments]``, sorted; none if it has none.

    Read are the shapes that models write: ``{"name", "arguments"}`` or ``"parameters"``, OpenAI's
    ``{"function": …}`` with arguments as text, lists of such, ``<tool_call>`` tags, and Python
    calls like ``[weather(city="Oslo")]``.

    Example:
        >>> tool_calls('<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>')
        [['f', {'x': 1}]]
        >>> tool_calls('[f(x=1)]') == tool_calls('{"name": "f", "parameters": {"x": 1.0}}')
        True
    """
    answer = _CALL_MARKS.sub(" ", answer)
    tagged = [body for _, body in _CALL_TAG.findall(answer)][:_MOST_VALUES]
    calls: list[Any] = []
    for text in tagged or [answer]:
        values = json_values(text)
        found = [call for value in values for call in _calls_in(value)]
        calls += found or _python_calls(text)
    return calls if len(calls) < 2 else sorted(calls, key=_order)


def _order(call: Any) -> str:
    return json.dumps(call, sort_keys=True)


def _calls_in(value: Any) -> Iterator[list[Any]]:
    if isinstance(value, list):
        for each in value[:_MOST_VALUES]:
            yield from _calls_in(each)
    if not isinstance(value, dict):
        return
    for key in ("function", "tool_calls", "tool_call", "function_call"):
        if isinstance(value.get(key), dict | list):
            yield from _calls_in(value[key])
            return
    name = value.get("name", value.get("function", value.get("tool")))
    arguments: Any = next(
        (value[key] for key in ("arguments", "parameters", "args", "input") if key in value), {}
    )
    if isinstance(arguments, str):
        try:
            arguments = _parsed(arguments)
        except ValueError:
            return
    if isinstance(name, str) and isinstance(arguments, dict):
        yield [name, arguments]


def _python_calls(text: str) -> list[Any]:
    fenced = _FENCE.findall(text)
    try:
        tree = ast.parse((fenced[0] if fenced else text).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    calls = tree.elts if isinstance(tree, ast.List | ast.Tuple) else [tree]
    try:
        return [_python_call(call) for call in calls]
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return []


def _python_call(call: ast.expr) -> list[Any]:
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError("no call by keywords")
    arguments = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
    json.dumps(arguments, allow_nan=False)
    if None in arguments:
        raise ValueError("arguments without names")
    return [ast.unparse(call.func), arguments]


def _contained(answer: str) -> Iterator[Any]:
    at, n_found = 0, 0
    starts = re.compile(r"[{\[]")
    n_tried = 0
    while (match := starts.search(answer, at)) and n_found < _MOST_VALUES and n_tried < 4096:
        n_tried += 1
        try:
            value, at = _DECODER.raw_decode(answer, match.start())
        except (ValueError, RecursionError):
            at = match.end()
            continue
        n_found += 1
        yield value


def _parsed(text: str) -> Any:
    try:
        return _DECODER.decode(text.strip())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number beyond all bounds")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_no_repeats, parse_constant=_no_constant, parse_float=_finite
)


def _accepted(text: str, argument: str) -> Any:
    try:
        value = _parsed(text)
    except ValueError as error:
        raise UserError(
            f"The scorer 'json' cannot use the accepted answer {text[:200]!r}: {error}.",
            hint="Write it as JSON, or choose another scorer: palimpsest list scorers",
        ) from error
    if argument == "tool" and not list(_calls_in(value)):
        raise UserError(
            f"The scorer 'json:tool' finds no tool call in {text[:200]!r}.",
            hint='Write {"name": "…", "arguments": {…}}, or a list of such.',
        )
    if argument == "schema":
        _validator(json.dumps(value))
    return value


def _equal_to(value: Any) -> Callable[[Any], bool]:
    return lambda said: _same(said, value)


def _calling(value: Any) -> Callable[[Any], bool]:
    wanted = sorted(_calls_in(value), key=_order)
    return lambda said: _same_calls(said, wanted)


def _same_calls(said: list[Any], wanted: list[Any]) -> bool:
    """Compare without order: 1 and 1.0 may sort apart."""
    left = list(said)
    for call in wanted:
        place = next((at for at, each in enumerate(left) if _same(each, call)), None)
        if place is None:
            return False
        left.pop(place)
    return not left


def _fitting(schema: Any) -> Callable[[Any], bool]:
    validator = _validator(json.dumps(schema))

    def fits(said: Any) -> bool:
        try:
            return bool(validator.is_valid(said))
        except RecursionError:  # a schema that refers to itself, or an answer nested as deeply
            return False

    return fits


@lru_cache(maxsize=1024)
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, ValidationError
    from jsonschema.validators import extend
    from referencing import Registry

    from palimpsest.lm.scoring.regex import compiled, is_found

    def pattern(_: Any, wanted: str, said: Any, __: Any) -> Iterator[ValidationError]:
        if isinstance(said, str) and not is_found(compiled(wanted), said):
            yield ValidationError("no match")

    value = json.loads(schema)
    try:
        Draft202012Validator.check_schema(value)
    except SchemaError as error:
        raise UserError(
            f"The JSON schema {schema[:200]} is none: {error.message[:200]}.",
            hint="See https://json-schema.org/draft/2020-12.",
        ) from error
    for wanted in _patterns(value):
        compiled(wanted)
    # A registry of its own, so that no reference is followed to the network.
    kind: Any = extend(Draft202012Validator, {"pattern": pattern})  # type: ignore[no-untyped-call]
    return kind(value, registry=Registry())


def _patterns(schema: Any) -> Iterator[str]:
    """Yield the patterns of a schema, which RE2 must know: Python's own can take for ever."""
    if isinstance(schema, list):
        for each in schema:
            yield from _patterns(each)
    elif isinstance(schema, dict):
        if "patternProperties" in schema:
            raise UserError(
                "A JSON schema uses patternProperties, which is not supported.",
                hint="Name the properties, or use propertyNames with a pattern.",
            )
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for key in ("$ref", "$dynamicRef"):
            if not str(schema.get(key, "#")).startswith("#"):
                raise UserError(
                    f"A JSON schema refers to '{schema[key]}', which is not in it.",
                    hint="Put what it refers to under $defs, and refer to #/$defs/NAME.",
                )
        for each in schema.values():
            yield from _patterns(each)


def _same(one: Any, other: Any) -> bool:
    """Say whether two JSON values are equal; true is not 1, but 1 is 1.0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
