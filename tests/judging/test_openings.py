from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from palimpsest.judging import parse_via
from palimpsest.judging.openings import Openings, forced
from palimpsest.judging.questions import Question, Settings
from palimpsest.lm.scoring import FORMS, form_for
from palimpsest.lm.suites import Example, Suite


def question(
    right: tuple[str, ...] = ("What",),
    intruding: tuple[str, ...] = ("12",),
    *,
    via: str = "identity",
    forms: Mapping[str, str] | None = None,
    **options: Any,
) -> Question:
    example = Example(
        source_id="1",
        cell="c",
        language="en",
        prompt="Input: What is 5 plus 7?\nOutput:",
        answers={"copy": right, "sum": intruding},
        forms=forms or {},
        **options,
    )
    suite = Suite(name="s", examples=(example,))
    return Question.of("model", suite, parse_via(via), example, Settings())


def openings(*args: Any, **options: Any) -> Openings:
    found = Openings.of(question(*args, **options))
    assert found is not None
    return found


@pytest.mark.parametrize("text", [" W", "Wh", " What", " What is", "What?"])
def test_a_part_of_a_right_answer_and_what_begins_with_it_open_it(text: str) -> None:
    assert openings().side(text) == "right"


@pytest.mark.parametrize("text", [" 1", "12", " 12."])
def test_so_it_is_with_intruding_answers(text: str) -> None:
    assert openings().side(text) == "intruding"


@pytest.mark.parametrize("text", [" The", "Whatever", " 3", " what", " 120"])
def test_what_the_scorer_would_not_take_for_either_is_neither(text: str) -> None:
    assert openings().side(text) == "other"


def test_white_space_and_what_both_begin_with_wait_for_the_next_token() -> None:
    both = openings(("The cat",), ("Three",))
    assert [both.side(text) for text in (" ", " T", " Th", " The", " Thr")] == [
        None, None, None, "right", "intruding",
    ]  # fmt: skip


def test_nothing_waits_for_a_token_behind_the_end() -> None:
    both = openings(("The cat",), ("Three",))
    assert [both.side(text, ended=True) for text in ("", "T", "The cat", "Three")] == [
        "other", "other", "right", "intruding",
    ]  # fmt: skip
    assert both.side("\nThe cat") == "other"  # a stop string: the answer is empty
    assert both.side("T\n") == "other"


def test_what_is_accepted_on_both_sides_is_neither() -> None:
    assert openings(("12",), ("12",)).side("12 ") == "other"


def test_the_form_of_the_other_ability_is_an_attempt_at_it() -> None:
    formed = openings(forms={"sum": "number"})
    assert [formed.side(text) for text in (" 3", " 120", " The", " What", " W")] == [
        "intruding", "intruding", "other", "right", "right",
    ]  # fmt: skip
    assert openings(intruding=(), forms={"sum": "number"}).side(" 3") == "intruding"


def test_a_form_of_both_sides_tells_nothing() -> None:
    assert openings(forms={"copy": "number", "sum": "number"}).side(" 3") == "other"


OPENED = {"number": ("7", "x"), "choice": ("(B)", "Be"), "regex:^#": ("#1", "a#")}


@pytest.mark.parametrize("spec", [*OPENED, "word", "json"])
def test_a_form_shows_at_once_or_not_at_all(spec: str) -> None:
    formed = openings(forms={"sum": spec})
    shown, not_shown = OPENED.get(spec, (None, '{"a'))
    assert spec.partition(":")[0] in FORMS
    assert shown is None or (form_for(spec).fits(shown) and formed.side(shown) == "intruding")
    assert formed.side(not_shown) == "other"
    assert formed.side("dog") == "other"  # one word, or the first of many


def test_under_a_conjugation_answers_are_looked_for_as_the_model_would_write_them() -> None:
    leet = openings(via="leet", forms={"sum": "number"})
    assert leet.right[0] == "Wh47"
    assert leet.side(" Wh4") == "right"
    assert leet.side(r" \1\2") == "intruding"
    assert leet.side(r" \3") == "intruding"  # the form is that of the inverted answer
    assert leet.side(" 50") == "other"  # So


def test_plain_answers_count_where_they_are_read_as_such() -> None:
    # An answer in plain text is read as it is, as the exchange does it.
    assert openings(via="pig-latin").side(" What is") == "right"


def test_of_a_longer_answer_as_many_words_of_its_image_count() -> None:
    found = openings(("The big",), via="upper", whole_answers={"copy": "The big cat"})
    assert found.side(" THE BIG") == "right"


@pytest.mark.parametrize("scorer", ["regex", "json", "contains"])
def test_patterns_have_no_openings(scorer: str) -> None:
    asked = question(("1",), ("2",), scorer=scorer)
    assert (Openings.of(asked) is None) == (scorer != "contains")


def test_without_another_side_there_is_nothing_to_measure() -> None:
    assert Openings.of(question(intruding=())) is None


def test_the_rest_of_the_right_answer_stands_behind_its_opening() -> None:
    whole = {"copy": "What is 5 plus 7?"}
    assert forced(question(whole_answers=whole)) == (" What", " What is 5 plus 7?")
    assert forced(question(via="leet", whole_answers=whole)) == (" Wh47", r" Wh47 15 \5 plu5 \7?")
    assert forced(question(whole_answers={"copy": "What"})) is None
    assert forced(question()) is None
