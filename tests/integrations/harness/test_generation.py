"""How requests for text are conjugated, and how the texts come back."""

import pytest
from tests.integrations.harness.conftest import Recorder, generating

from palimpsest.integrations.lm_eval import ConjugateLM
from palimpsest.lm.conjugations import parse_conjugation


def test_the_context_goes_out_conjugated_and_the_answer_comes_back_inverted() -> None:
    inner = Recorder(say=lambda context: f" {context} 17 15.")
    answer = ConjugateLM(inner, via="leet").generate_until([generating("Is it?", until=["\n"])])
    assert inner.asked[0].args == ("I5 17?", {"until": ["\n"]})
    assert answer == [" Is it? it is."]


def test_stop_strings_go_out_conjugated_where_that_means_the_same() -> None:
    inner = Recorder()
    request = generating("Q", until=["\n\n", "Question:", "5"], max_gen_toks=9, do_sample=False)
    ConjugateLM(inner, via="leet").generate_until([request])
    assert inner.asked[0].args[1] == {
        "until": ["\n\n", "Qu35710n:"],  # a 5 may be an s
        "max_gen_toks": 9,
        "do_sample": False,
    }
    assert request.args[1]["until"] == ["\n\n", "Question:", "5"]


def test_answers_are_cut_again_at_the_original_stop_strings() -> None:
    model = ConjugateLM(Recorder(say=lambda _: r" n1n3, \5 4nd m0r3"), via="leet")
    assert model.generate_until([generating("Q", until=["5"])]) == [" nine, "]


def test_each_answer_is_cut_at_the_stop_strings_of_its_own_request() -> None:
    model = ConjugateLM(Recorder(say=lambda _: " one, two; three"), via="identity|upper")
    requests = [generating("Q", until=[","]), generating("Q", until=[";"])]
    assert model.generate_until(requests) == [" one", " one, two"]


@pytest.mark.parametrize(
    ("options", "sent", "answer"),
    [
        ({"until": "\n"}, {"until": ["\n"]}, " yes"),
        ({"until": []}, {"until": []}, " yes\nno"),
        ({"until": ["", "\n"]}, {"until": ["\n"]}, " yes"),
        ({}, {}, " yes\nno"),
    ],
    ids=["one", "none", "blank", "missing"],
)
def test_stop_strings_may_be_one_several_or_none(
    options: dict[str, object], sent: dict[str, object], answer: str
) -> None:
    inner = Recorder(say=lambda _: " lrf\nab")
    assert ConjugateLM(inner, via="rot13").generate_until([generating("Q", **options)]) == [answer]
    assert inner.asked[0].args[1] == sent


def test_a_stop_string_that_a_lossy_conjugation_returns_otherwise_ends_the_answer_too() -> None:
    model = ConjugateLM(Recorder(say=lambda _: " YES. USER: GO ON"), via="upper")
    assert model.generate_until([generating("Q", until=["User:"])]) == [" yes. "]


def test_marks_that_end_a_turn_are_told_as_they_are_as_well() -> None:
    inner = Recorder(say=lambda _: " lrf<|im_end|>zber")
    model = ConjugateLM(inner, via="rot13")
    assert model.generate_until([generating("Q", until=["<|im_end|>", "</s>", "Q:"])]) == [" yes"]
    told = inner.asked[0].args[1]["until"]
    assert {"<|im_end|>", "</s>", "D:"} <= set(told)
    assert "Q:" not in told


def test_repeats_are_asked_one_by_one_and_answered_in_order() -> None:
    spoken = iter(["n", "o", "p"])
    model = ConjugateLM(Recorder(say=lambda _: next(spoken)), via="rot13")
    request = generating("Q", until=[], do_sample=True)
    assert model.generate_until([request] * 3) == ["a", "b", "c"]


def test_chains_and_protected_spans_go_out_and_come_back() -> None:
    for via in ("leet|pig-latin", "protect(leet,numbers+urls)"):
        s = parse_conjugation(via)
        model = ConjugateLM(Recorder(say=lambda context: context), via=via)
        text = "See https://example.org for 12 things."
        assert model.generate_until([generating(text, until=["\n"])]) == [text]
        assert s.apply(text) != text
