from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import UserError
from palimpsest.registry import Registry
from palimpsest.specs import Spec, parse_spec, split_outside

SHAPES = Registry[object]("shape", {"line": "math:pi", "point": "math:tau"})


def parse(text: str) -> Spec:
    return parse_spec(text, SHAPES, needs_target=lambda name: name == "line")


@pytest.mark.parametrize(
    ("text", "name", "target", "options"),
    [
        ("line", "line", "", {}),
        (" line : a,b ", "line", "a,b", {}),
        ("line:a=1,b,n=2, m=3", "line", "a=1,b", {"n": "2", "m": "3"}),
        ("point:n=2", "point", "", {"n": "2"}),
        ("point,n=a=b", "point", "", {"n": "a=b"}),
        ("point:,n=", "point", "", {"n": ""}),
        ("line:http://h:1/v1@x,n=1", "line", "http://h:1/v1@x", {"n": "1"}),
    ],
)
def test_a_spec_is_a_name_a_target_and_options(
    text: str, name: str, target: str, options: dict[str, str]
) -> None:
    spec = parse(text)
    assert (spec.name, spec.target, dict(spec.options)) == (name, target, options)
    assert (spec.text, spec.kind) == (text.strip(), "shape")


def test_values_have_commas_only_where_they_may() -> None:
    with pytest.raises(UserError, match="The shape 'point:n=1,x' has 'x' after its options"):
        parse("point:n=1,x")
    assert parse_spec("point:n=1,x", SHAPES, commas_in_values=True).target == "n=1,x"
    assert parse_spec("point,n=1,x", SHAPES, commas_in_values=True).options == {"n": "1,x"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lime", "No shape named 'lime'. Did you mean 'line'?"),
        ("point,n=1,n=2", "The shape 'point,n=1,n=2' gives 'n' twice."),
    ],
)
def test_what_is_wrong_is_said_with_the_word_for_the_kind(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert caught.value.message == words


def test_an_unknown_option_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(UserError) as caught:
        parse("point,widht=1").allow(["width", "height"])
    assert str(caught.value) == (
        "The shape 'point' has no option 'widht'. Did you mean 'width'?\n"
        "Its options: width, height."
    )


def test_options_are_read_as_what_they_are() -> None:
    spec = parse("point,n=3,wait=0.5,on=Yes,kind=a")
    assert (spec.count("n", 1, most=3), spec.count("m", 7)) == (3, 7)
    assert (spec.seconds("wait", 1), spec.seconds("pause", 2)) == (0.5, 2)
    assert (spec.flag("on"), spec.flag("off")) == (True, False)
    assert (spec.one_of("kind", ("a", "b"), "b"), spec.one_of("sort", ("a", "b"), "b")) == (
        "a",
        "b",
    )


@pytest.mark.parametrize("value", ["0", "-1", "4", "1.0", "x", "", "٣"])
def test_a_count_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(UserError, match="no number from 1 to 3"):
        parse(f"point,n={value}").count("n", 1, most=3)


@pytest.mark.slow
@given(st.text())
def test_every_text_is_parsed_or_refused_in_words(text: str) -> None:
    for spec in (text, f"line{text}", f"line:{text}"):
        with suppress(UserError):
            assert parse(spec).name in SHAPES


@given(st.text("ab|,", max_size=30))
def test_what_is_split_outside_parentheses_joins_to_the_text(text: str) -> None:
    assert "|".join(split_outside(text, "|")) == text
    assert split_outside(f"({text})", "|") == [f"({text})"]


@pytest.mark.parametrize("text", ["(", ")", ")(", "a(b|c", "a|b)"])
def test_parentheses_that_do_not_match_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="do not match"):
        split_outside(text, "|")
