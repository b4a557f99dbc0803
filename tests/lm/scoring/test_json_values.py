import json

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.scoring import scorer_for

RIGHT = '{"name": "Ann", "age": 7, "pets": ["cat", "dog"]}'
OTHER = '{"name": "Bob"}'

ANSWERS = {
    RIGHT: "right",
    json.dumps(json.loads(RIGHT), indent=2): "right",
    '{"age": 7, "pets": ["cat", "dog"], "name": "Ann"}': "right",
    '{"age": 7.0, "pets": ["cat", "dog"], "name": "Ann"}': "right",
    '{"age": 7e0, "pets": ["cat", "dog"], "name": "Ann"}': "right",
    '{"age": 7, "pets": ["cat", "dog"], "name": "\\u0041nn"}': "right",
    f"  {RIGHT}\n": "right",
    f"```json\n{RIGHT}\n```": "right",
    f"```\n{RIGHT}\n```": "right",
    f"```JSON\n{RIGHT}": "right",
    f"Sure! Here it is:\n```json\n{RIGHT}\n```\nAnything else?": "right",
    f"Here: {RIGHT}": "right",
    f"{RIGHT} is the JSON.": "right",
    f"Result = {RIGHT};": "right",
    f"{RIGHT}\n{RIGHT}": "right",
    f"{{curly}} braces, then {RIGHT}": "right",
    f"<answer>{RIGHT}</answer>": "right",
    OTHER: "intruded",
    f"It is {OTHER}.": "intruded",
    f"{RIGHT} or {OTHER}": "broken",
    f"[{RIGHT}]": "broken",
    '{"name": "Ann", "age": 7}': "broken",
    '{"name": "Ann", "age": 7, "pets": ["dog", "cat"]}': "broken",
    '{"name": "Ann", "age": 7, "pets": ["cat", "dog"], "more": null}': "broken",
    '{"name": "ann", "age": 7, "pets": ["cat", "dog"]}': "broken",
    '{"name": "Ann", "age": "7", "pets": ["cat", "dog"]}': "broken",
    '{"name": "Ann", "age": true, "pets": ["cat", "dog"]}': "broken",
    '{"name": "Ann", "age": 8, "age": 7, "pets": ["cat", "dog"]}': "broken",
    '{"name": "Ann", "age": 7, "pets": ["cat", "dog"],}': "broken",
    "{'name': 'Ann', 'age': 7, 'pets': ['cat', 'dog']}": "broken",
    '{name: "Ann", age: 7, pets: ["cat", "dog"]}': "broken",
    '{"name": "Ann", "age": NaN, "pets": ["cat", "dog"]}': "broken",
    '{"name": "Ann", "age": Infinity}': "broken",
    '{"name": "Ann", "age": 1e999}': "broken",
    RIGHT[:-1]: "broken",
    RIGHT[:20]: "broken",
    "": "broken",
    "null": "broken",
    "Ann": "broken",
    '"Ann"': "broken",
    "7": "broken",
    "[]": "broken",
    "{}": "broken",
    "{" * 100_000: "broken",
    "[" * 100_000 + "]" * 100_000: "broken",
    '{"a":' * 50_000: "broken",
}


@pytest.mark.parametrize(("answer", "outcome"), ANSWERS.items())
def test_a_value_is_found_and_compared_as_a_value(answer: str, outcome: str) -> None:
    assert scorer_for([RIGHT], [OTHER], "json").outcome(answer) == outcome


CALL = '{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}'
ARGUMENTS = '{"city": "Oslo", "days": 3}'
CALLS = {
    CALL: "right",
    f"[{CALL}]": "right",
    '{"arguments": {"days": 3.0, "city": "Oslo"}, "name": "weather"}': "right",
    f'{{"name": "weather", "parameters": {ARGUMENTS}}}': "right",
    f'{{"function": "weather", "arguments": {ARGUMENTS}}}': "right",
    f'{{"tool": "weather", "args": {ARGUMENTS}}}': "right",
    f'{{"type": "function", "function": {{"name": "weather", "arguments": {ARGUMENTS}}}}}': "right",
    json.dumps({"function": {"name": "weather", "arguments": ARGUMENTS}}): "right",
    json.dumps({"tool_calls": [{"id": "1", "function": json.loads(CALL)}]}): "right",
    f"<tool_call>\n{CALL}\n</tool_call>": "right",
    f"<tool_call>{CALL}": "right",
    f"I will look.\n<tool_call>{CALL}</tool_call>": "right",
    f"<|python_tag|>{CALL}": "right",
    f"[TOOL_CALLS][{CALL}]": "right",
    f"```json\n{CALL}\n```": "right",
    'weather(city="Oslo", days=3)': "right",
    '[weather(days=3, city="Oslo")]': "right",
    "```python\nweather(city='Oslo', days=3)\n```": "right",
    CALL.replace("weather", "news"): "broken",
    CALL.replace("3", "4"): "broken",
    CALL.replace(', "days": 3', ""): "broken",
    f"[{CALL}, {CALL}]": "broken",
    '{"name": "weather"}': "broken",
    'weather("Oslo", 3)': "broken",
    "weather(**{'city': 'Oslo', 'days': 3})": "broken",
    "weather(city=input(), days=3)": "broken",
    "weather": "broken",
    '{"name": "weather", "arguments": "Oslo"}': "broken",
    "It is cold in Oslo.": "broken",
    "f(" * 20_000: "broken",
}


@pytest.mark.parametrize(("answer", "outcome"), CALLS.items())
def test_the_call_of_a_tool_is_found_in_every_shape_that_models_write(
    answer: str, outcome: str
) -> None:
    assert scorer_for([CALL], [], "json:tool").outcome(answer) == outcome


def test_several_calls_count_in_any_order() -> None:
    two = f'[{CALL}, {{"name": "news", "arguments": {{}}}}]'
    scorer = scorer_for([two], [], "json:tool")
    assert scorer.outcome(f'<tool_call>{{"name": "news"}}</tool_call>[{CALL}]') == "broken"
    calls = f'<tool_call>{{"name": "news"}}</tool_call>\n<tool_call>{CALL}</tool_call>'
    assert scorer.outcome(calls) == "right"


@pytest.mark.parametrize(
    ("schema", "answer", "outcome"),
    [
        ("true", "[1]", "right"),
        ("true", "[1", "broken"),
        ('{"type": "object", "required": ["a"]}', '{"a": 1}', "right"),
        ('{"type": "object", "required": ["a"]}', "{}", "broken"),
        ('{"enum": ["x", "y"]}', '"x"', "right"),
        ('{"type": "string", "pattern": "^[a-z]+$"}', '"abc"', "right"),
        ('{"type": "string", "pattern": "^[a-z]+$"}', '"ABC"', "broken"),
        ('{"type": "integer"}', "1.0", "right"),
        ('{"items": {"$ref": "#"}, "type": "array"}', "[[], [[]]]", "right"),
        ('{"pattern": "^(a+)+$"}', json.dumps("a" * 5000 + "!"), "broken"),
    ],
)
def test_a_schema_accepts_what_fits(schema: str, answer: str, outcome: str) -> None:
    assert scorer_for([schema], [], "json:schema").outcome(answer) == outcome


@pytest.mark.parametrize(
    ("scorer", "accepted", "message"),
    [
        ("json", "{", "'json' cannot use the accepted answer"),
        ("json:tool", '{"a": 1}', "finds no tool call"),
        ("json:schema", '{"type": 3}', "The JSON schema"),
        ("json:schema", '{"pattern": "(?=a)"}', "cannot be used"),
        ("json:schema", '{"patternProperties": {"a": {}}}', "patternProperties"),
    ],
)
def test_what_cannot_be_compared_is_refused(scorer: str, accepted: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        scorer_for([accepted], [], scorer)


def test_no_reference_is_followed_to_the_network() -> None:
    schema = '{"$ref": "http://127.0.0.1:9/schema.json"}'
    with pytest.raises(UserError, match="refers to 'http"):
        scorer_for([schema], [], "json:schema").outcome("1")
