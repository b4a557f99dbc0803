"""What every registered form promises; a new one is tested here by itself."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.lm.scoring import Asked, Scoring
from palimpsest.lm.scoring.forms import FORMS, Form, form_for
from palimpsest.records import ATTEMPTED

PIECES = [
    "12",
    "Yes",
    "no",
    "The answer is",
    "B",
    "(C)",
    "**",
    '{"a": 1}',
    "[1]",
    "猫",
    "été",
    "#1",
]
PIECES += [" ", "\n", ".", ",", ":", "-", "?", "/", "\\boxed{3}", "2024-05-06", "\x00", "\ufffd"]

texts = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=12)
each = pytest.mark.parametrize("name", list(FORMS))


def spec_of(name: str) -> str:
    return f"{name}:[0-9]" if FORMS.get(name).takes_argument else name


def made(name: str, language: str = "en") -> Form:
    return form_for(spec_of(name), Asked(language))


@each
@given(texts, st.sampled_from(["en", "fr", "de", "leet"]))
def test_any_text_has_a_form_or_has_it_not(name: str, answer: str, language: str) -> None:
    assert made(name, language).fits(answer) in (True, False)


@each
@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u00a0"])
def test_nothing_has_no_form(name: str, blank: str) -> None:
    assert not made(name).fits(blank)


@each
@given(texts)
def test_white_space_around_an_answer_does_not_matter(name: str, answer: str) -> None:
    form = made(name)
    assert form.fits(f" \n{answer}\n ") == form.fits(answer)


@each
@given(texts)
def test_what_fits_the_form_of_both_sides_is_broken_and_of_one_intruded(
    name: str, answer: str
) -> None:
    spec = spec_of(name)
    both = Scoring("exact", spec, (spec,)).scorer_of(["right"], ["wrong"])
    assert both.outcome(answer) == Scoring("exact").scorer_of(["right"], ["wrong"]).outcome(answer)
    theirs = Scoring("exact", None, (spec,)).scorer_of(["right"], [])
    if answer.strip() and made(name).fits(answer) and answer.strip() != "right":
        assert (theirs.outcome(answer), theirs.flags(answer)) == ("intruded", (ATTEMPTED,))


@each
@pytest.mark.parametrize(
    "piece", ["1", "a ", "{", "[", "1,", "the answer is ", "*", "-", "\\frac{"]
)
def test_a_long_answer_does_not_take_long(name: str, piece: str) -> None:
    form, text = made(name), piece * (50_000 // len(piece))
    started = time.process_time()
    form.fits(text)
    # Quadratic ones take minutes; a busy machine makes one second three.
    assert time.process_time() - started < 10
