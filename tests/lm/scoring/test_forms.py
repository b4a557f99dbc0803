import doctest
import json
import sys
import types
from pathlib import Path

import pytest
from tests.doc_pages import ROOT, bodies
from tests.laws import test_form_laws as laws

from palimpsest.errors import UserError
from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.scoring import FORMS, Asked, Scoring, form_for
from palimpsest.lm.suites import load_suite
from palimpsest.lm.suites.request_forms import filled_form, number_form
from palimpsest.records import ATTEMPTED


@pytest.mark.parametrize(
    ("form", "fits", "does_not"),
    [
        (
            "number",
            ["17", " 17 apples", "$5", "Twelve", "The answer is 3.5", "-4"],
            ["", "What is 17?"],
        ),
        (
            "choice",
            ["B", "(C)", "**D.** Paris", "Answer: A"],
            ["", "A cat", "I think", "both", "K"],
        ),
        ("word", ["Dog", " the. ", "don't", "well-known"], ["", "a dog", "__ cat", "12", "!"]),
        ("json", ['{"a": 1}', "[1]", "Here: {}", "f(x=1)"], ["", "12", "{a}", "none"]),
        ("regex:^#", ["#1", " #"], ["", "a #"]),
    ],
)
def test_a_form_says_what_an_answer_looks_like(
    form: str, fits: list[str], does_not: list[str]
) -> None:
    made = form_for(form, Asked())
    assert [text for text in fits if not made.fits(text)] == []
    assert [text for text in does_not if made.fits(text)] == []


@pytest.mark.parametrize("name", list(FORMS))
def test_an_empty_answer_has_no_form(name: str) -> None:
    made = form_for(f"{name}:x" if FORMS.get(name).takes_argument else name)
    assert not made.fits("")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nunber", r"No form named 'nunber'\. Did you mean 'number'"),
        ("number:3", "The form 'number' takes no argument"),
        ("regex", "The form 'regex' needs an argument"),
        ("regex:(", "cannot be used"),
    ],
)
def test_a_form_that_there_is_not_is_a_mistake(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        form_for(spec)


def test_a_wrong_answer_in_the_other_form_is_intruded_and_in_both_is_broken() -> None:
    scorer = Scoring(right_form="word", intruding_forms=("number",)).scorer_of(["What"], ["12"])
    assert scorer.outcome("What") == "right"
    assert (scorer.outcome("12"), scorer.flags("12")) == ("intruded", ())
    assert (scorer.outcome("17"), scorer.flags("17")) == ("intruded", (ATTEMPTED,))
    assert scorer.outcome("seventeen") == "broken"  # a word, and a number
    assert scorer.outcome("Hm, no") == "broken"


def test_of_an_answer_with_forms_only_an_accepted_one_is_decided() -> None:
    scorer = Scoring(intruding_forms=("number",)).scorer_of(["What"], ["12"])
    assert scorer.decided("What is")
    assert not scorer.decided("The answer")  # may yet come to a number


@pytest.mark.parametrize("language", ["en", "fr", "leet", "pig-latin"])
def test_requests_for_numbers_and_words_have_forms_in_every_language(language: str) -> None:
    suite = load_suite(
        f"icl-vs-if:n=3,languages=en+{language}" if language != "en" else "icl-vs-if:n=3"
    )
    rewrite = parse_conjugation(language if language in ("leet", "pig-latin") else "identity").apply
    for example in suite.in_language(language):
        scorer = example.scorer_of(example.right, example.intruding)
        wrong = rewrite("187") if example.cell.endswith("math") else rewrite("Quokka")
        assert scorer.outcome(wrong) == "intruded", (example.cell, wrong)
        assert scorer.outcome(example.right[0]) == "right"
        assert scorer.outcome("?") == "broken"


def test_a_filled_blank_is_one_word_alone_or_with_what_follows() -> None:
    form = form_for(filled_form("¡___ un pingüino!"))
    assert all(map(form.fits, ["Es", "¡Es un pingüino!", "era un"]))
    assert not any(map(form.fits, ["___ un pingüino!", "Es la", "un gran pingüino", ""]))
    assert number_form() == "number"


def a_suite(folder: Path, **answers: object) -> str:
    row = {"id": "1", "prompt": "a", "answers": answers}
    path = folder / "suite.jsonl"
    path.write_text(json.dumps(row), "utf-8")
    return f"jsonl:{path}"


def test_a_row_states_forms_beside_accepted_answers(tmp_path: Path) -> None:
    spec = a_suite(tmp_path, repeat=["What"], sums={"accept": ["12"], "form": "number"})
    [example] = load_suite(spec).examples
    assert example.forms == {"sums": "number"}
    assert example.scorer_of(example.right, example.intruding).outcome("15") == "intruded"
    spec = a_suite(tmp_path, repeat=["What"], sums={"form": "number"})
    [example] = load_suite(spec).examples
    assert (example.intruding, dict(example.forms)) == ((), {"sums": "number"})


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"a": {"accept": ["x"], "form": "nummber"}}, "No form named 'nummber'"),
        ({"a": {"accept": [], "form": None}}, "field answers.a: empty"),
        ({"a": {"acept": ["x"]}}, r"Did you mean 'accept'"),
        (
            {"a": {"accept": ["1"], "form": "number"}, "b": {"accept": ["2"], "form": "number"}},
            "'a' and 'b' have the same form, 'number'",
        ),
    ],
)
def test_forms_that_cannot_be_are_named_with_line_and_field(
    tmp_path: Path, answers: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_suite(a_suite(tmp_path, **answers))


def test_the_form_of_the_page_on_adding_one_keeps_the_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    code, _registration = bodies(ROOT / "docs" / "adding" / "form.md", "python")
    module = types.ModuleType("date_form")
    monkeypatch.setitem(sys.modules, "date_form", module)
    exec(compile(code, "docs/adding/form.md", "exec"), module.__dict__)
    assert doctest.testmod(module) == doctest.TestResults(failed=0, attempted=1)
    monkeypatch.setitem(FORMS._builtin, "date", "date_form:DateForm")
    laws.test_any_text_has_a_form_or_has_it_not("date")
    laws.test_white_space_around_an_answer_does_not_matter("date")
    laws.test_what_fits_the_form_of_both_sides_is_broken_and_of_one_intruded("date")
    for blank in ("", " "):
        laws.test_nothing_has_no_form("date", blank)
    laws.test_a_long_answer_does_not_take_long("date", "1")
    scoring = Scoring("exact", None, ("date",)).scorer_of(["2026-11-30 at noon"], ["2026-11-30"])
    assert (scoring.outcome("2026-12-01"), scoring.flags("2026-12-01")) == (
        "intruded",
        (ATTEMPTED,),
    )


def test_what_an_answer_was_scored_by_comes_back_from_the_record() -> None:
    scoring = Scoring("number:first", "word", ("number", "json"), ("a", "b"))
    assert Scoring.from_json(scoring.to_json()) == scoring
    assert Scoring.from_json("") == Scoring()
    assert Scoring.from_json('{"scorer": "exact", "younger": 1}') == Scoring("exact")
