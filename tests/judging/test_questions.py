"""What a question sends, when its reply is settled, and what the reply means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import UserError
from palimpsest.judging.questions import (
    Expected,
    Question,
    RawAnswer,
    Settings,
    Survived,
    _Kept,
    expected_under,
    scorer_under,
)
from palimpsest.judging.via import parse_via
from palimpsest.lm.conjugations import CONJUGATIONS, parse_conjugation
from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.answers import AnswerRow


def question(
    spec: str, prompt: Prompt = "Input: What is 7?", *, language: str = "en", **settings: Any
) -> Question:
    answers: Mapping[str, tuple[str, ...]] = {"icl": ("What",), "instruction": ("12",)}
    example = Example("1", "repeat/math", language, prompt, answers)
    english = Example("1", "repeat/math", "en", "Input: plain", answers)
    suite = Suite("tiny", (english, example) if language != "en" else (example,))
    return Question.of("weights", suite, parse_via(spec, suite), example, Settings(**settings))


def answered(asked: Question, raw: str) -> AnswerRow:
    return asked.row(RawAnswer(raw, "length", 0.5), role="base")


@pytest.mark.parametrize("spec", list(CONJUGATIONS))
@pytest.mark.parametrize(
    ("said", "outcome"),
    [("What is 7?", "right"), ("12 apples", "intruded"), ("Whatever", "broken"), ("", "broken")],
)
def test_an_answer_in_any_form_is_scored_as_it_would_be_in_plain_text(
    spec: str, said: str, outcome: str
) -> None:
    asked = question(spec)
    row = answered(asked, asked.via.conjugation.apply(said))
    assert row.outcome == outcome
    if asked.via.exact:
        assert row.answer == said
        assert row.round_trip is True


@pytest.mark.slow
@pytest.mark.parametrize("spec", list(CONJUGATIONS))
@given(
    raw=st.lists(st.sampled_from(["What", "12", ".5", "ay", "·", " ", "\n", "\\", "Wh47"])),
    more=st.lists(st.sampled_from(["ever", "12", ".5", "x", "ay", "·", " ", "\n", "5"])),
    stop=st.lists(st.sampled_from(["\n", "\n\n", ".5x", "er", " 1"]), max_size=2),
)
def test_nothing_that_is_added_to_a_settled_answer_changes_its_outcome(
    spec: str, raw: list[str], more: list[str], stop: list[str]
) -> None:
    asked = question(spec, stop=tuple(stop))
    begun, whole = "".join(raw), "".join(raw + more)
    if asked.settled_outcome(begun) is not None:
        assert answered(asked, whole).outcome == answered(asked, begun).outcome


def test_a_lossy_conjugation_is_scored_by_what_it_gives_back() -> None:
    row = answered(question("leet-paper"), "WH47 15 7")
    assert row.answer == "what is t"
    assert row.outcome == "right"
    assert row.round_trip is False


def test_a_row_names_the_texts_that_its_answer_was_compared_with() -> None:
    row = answered(question("leet"), "Wh47")
    assert (row.right_answers, row.intruding_answers) == ('["What"]', '["12"]')
    row = answered(question("leet-paper"), "WH47")
    assert (row.right_answers, row.intruding_answers) == ('["what"]', '["i2"]')


def test_texts_that_a_lossy_conjugation_makes_alike_or_blank_are_named_once_or_not_at_all() -> None:
    answers = {"icl": ("É",), "instruction": ("Twelve", "TWELVE", " ", "12")}
    example = Example("1", "repeat/math", "en", "7 plus 5", answers)
    expected = expected_under(parse_via("upper").conjugation, example)
    assert expected == Expected(right=("é",), intruding=("twelve", "12"))


def test_a_native_language_has_no_round_trip() -> None:
    assert answered(question("fr", language="fr"), "What").round_trip is None
    assert answered(question("fr|leet", language="fr"), "What").round_trip is True


def test_chat_messages_are_conjugated_one_by_one_and_recorded_as_json() -> None:
    asked = question("upper", (Message("system", "Be brief."), Message("user", "Say 7")))
    assert asked.sent == (Message("system", "BE BRIEF."), Message("user", "SAY 7"))
    recorded = '[{"role": "system", "content": "BE BRIEF."}, {"role": "user", "content": "SAY 7"}]'
    assert answered(asked, "").prompt == recorded


def test_stops_are_sent_in_conjugated_form_and_found_after_inversion() -> None:
    # "N" in rot13 is a plain "A": sent as it is, the stop "N" would cut at the wrong letter.
    asked = question("rot13", stop=("\n", "\r\n", "N", " "))
    assert asked.exchange.sent_stops == ("\n", "\r\n", "A", " ")
    assert answered(asked, "ONANO").answer == "BA"
    assert answered(question("identity", stop=("N",)), "ONANO").answer == "O"


def test_an_answer_is_settled_once_a_stop_is_certain() -> None:
    asked = question("leet", stop=("end",))
    assert asked.settled_outcome("Wh47") is None
    assert asked.settled_outcome("Wh47 3nd ") is not None


def test_a_stop_that_may_have_begun_keeps_the_answer_open() -> None:
    # "12.5" is another number than 12, unless ".5x" ends the answer after 12.
    assert question("identity", stop=()).settled_outcome("12.5") is not None
    asked = question("identity", stop=(".5x",))
    assert asked.settled_outcome("12.5") is None
    assert answered(asked, "12.5x").outcome == "intruded"


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"max_new_tokens": 0}, "0 tokens"), ({"stop": ("\n", "")}, "stop string is empty")],
)
def test_settings_that_allow_no_answer_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Settings(**settings)


@pytest.mark.slow
@pytest.mark.parametrize("spec", list(CONJUGATIONS))
@pytest.mark.parametrize(
    "text", ["\x00", "\ud800", "<script>alert(1)</script>", "\u202eשלום", "xyz " * 25_000, ""]
)
def test_no_text_breaks_a_question(spec: str, text: str) -> None:
    asked = question(spec, text)
    asked.settled_outcome(text)
    assert answered(asked, text).raw == text


@pytest.mark.parametrize(
    ("scorer", "right", "said"),
    [("json", '{"minutes": 7}', '{"minutes": 7}'), ("number", "47", "47")],
)
def test_where_a_conjugation_leaves_nothing_that_the_scorer_can_use_no_answer_ends_the_run(
    scorer: str, right: str, said: str
) -> None:
    example = Example("1", "c", "en", "Say it.", {"a": (right,)}, scorer=scorer)

    assert scorer_under(parse_conjugation("leet-paper"), example).outcome(said) == "right"


def test_equal_examples_with_another_ability_under_test_are_not_judged_alike() -> None:
    # Examples compare equal whatever the order of their abilities is.
    texts = {"icl": ("What",), "instruction": ("12",)}
    turned = dict(reversed(texts.items()))
    examples = [Example("1", "repeat/math", "en", "Say it.", each) for each in (texts, turned)]
    assert examples[0] == examples[1]
    rows = [
        answered(Question.of("m", Suite("s", (each,)), parse_via("rot13"), each, Settings()), "12 ")
        for each in examples
    ]
    assert [row.outcome for row in rows] == ["intruded", "right"]
    assert [row.right_answers for row in rows] == ['["What"]', '["12"]']


def test_what_became_of_a_prompt_is_found_out_once_for_each_conjugation() -> None:
    kept, found = _Kept(2), []

    def ask(spec: str, prompt: Prompt) -> Survived:
        def find() -> Survived:
            found.append((spec, prompt))
            return Survived((f"{spec} {len(found)}",), None)

        return kept.of(conjugations[spec], prompt, find)

    conjugations = {spec: parse_conjugation(spec) for spec in ("leet", "upper")}
    chat = (Message("user", "a"),)
    as_text = '[{"role": "user", "content": "a"}]'
    assert ask("leet", "\ud800") == ask("leet", "\ud800") == Survived(("leet 1",), None)
    assert ask("upper", "\ud800").flags == ("upper 2",)
    assert ask("leet", chat).flags == ("leet 3",)  # only two are kept, so the first one goes
    assert ask("leet", as_text).flags == ("leet 4",)
    assert ask("leet", "\ud800").flags == ("leet 5",)
    assert ask("leet", as_text).flags == ("leet 4",)
