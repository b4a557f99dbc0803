import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import UserError
from palimpsest.lm.scoring import Asked, numbers, scorer_for

PIECES = [
    *("1", "23", "4,5", "1.200", "3/4", "12th", "1 000", "000", "٣", "½", "10^5", "e3", "·10^2"),
    *("-", "−", "minus ", "negative ", "mínusz ", "+", "$", "€", " ", "\u00a0", ".", ",", "^", "{"),
    *("(", ")", "]", "x", "a", "é", "×", "%", " percent", "/"),
]
"""Of which numbers, and what is none, are made."""

# What was answered, where 1200 was expected and 35 would be the other task's, in English.
ENGLISH = {
    "1200": "right",
    "1,200": "right",
    "1 200": "right",
    "1\u202f200": "right",
    "1'200": "right",
    "1200.": "right",
    "1200.0": "right",
    "1,200.00": "right",
    "$1,200": "right",
    "€ 1200": "right",
    "1200 kg": "right",
    "1200kg": "right",
    "1200%": "right",
    "**1200**": "right",
    "`1200`": "right",
    "+1200": "right",
    "= 1200": "right",
    "\\boxed{1200}": "right",
    "\\boxed{1{,}200}": "right",
    "So \\boxed{1200}. Check: 3 × 400 and 35.": "right",
    "$\\boxed{\\text{1200}}$": "right",
    "1.2e3": "right",
    "1.2 × 10^3": "right",
    "$1.2 \\times 10^{3}$": "right",
    "12 × 100 = 1200": "right",
    "The answer is 1200. That is 3 times 400.": "right",
    "The answer is 3 × 400 = 1200.": "right",
    "#### 1200": "right",
    "She has 400, then 3 times as many.\n#### 1,200": "right",
    "Answer: 1200 (from 3 boxes)": "right",
    "Not 35 but 1200": "right",
    "3 boxes of 400 make 1200": "right",
    "The result is **1,200** apples.": "right",
    "2400/2": "right",
    "\\frac{2400}{2}": "right",
    "1200 m²": "right",
    "1200 cm^2": "right",
    "On the 3rd day: 1200": "right",
    "1200, not 35": "right",
    "35": "intruded",
    "35.0 apples": "intruded",
    "The answer is 35": "intruded",
    "1200 or 35": "broken",
    "1200-35": "broken",
    "35 to 1200": "broken",
    "-1200": "broken",
    "minus 1200": "broken",
    "\u22121200": "broken",
    "12": "broken",
    "120": "broken",
    "1.200": "broken",  # in English that is 1.2
    "12,00": "broken",
    "1,2,0,0": "broken",
    "1200:30": "broken",
    "x1200": "broken",
    "12.00": "broken",
    "1200/0": "broken",
    "": "broken",
    "many": "broken",
    "1200.5": "broken",
    "1/1200": "broken",
    "12/00/1200": "broken",
    "1200th": "broken",
    "1" * 101: "broken",
    "\\boxed{}": "broken",
    "\\boxed{35} or 1200": "intruded",
}


@pytest.mark.parametrize(("answer", "outcome"), ENGLISH.items())
def test_a_number_is_found_however_it_is_written(answer: str, outcome: str) -> None:
    assert scorer_for(["1200"], ["35"], "number").outcome(answer) == outcome


@pytest.mark.parametrize(
    ("language", "expected", "answer", "outcome"),
    [
        ("de", "1200", "1.200", "right"),
        ("de", "1.2", "1,2", "right"),
        ("de", "1,2", "1.2", "right"),  # models mix the marks
        ("de", "1200", "1,200", "right"),
        ("de", "1234.5", "1.234,5", "right"),
        ("de", "1234.5", "1,234.5", "right"),
        ("fr", "1234,5", "1 234,5", "right"),
        ("fr", "0,5", "50 %", "right"),
        ("en", "50%", "0.5", "right"),
        ("en", "50", "50 percent", "right"),
        ("en", "0.5", "50", "broken"),
        ("en", "50%", "0.5%", "broken"),
        ("en", "0.75", "3/4", "right"),
        ("en", "1.5", "1 1/2", "right"),
        ("en", "1.5", "1½", "right"),
        ("en", "0.5", "½", "right"),
        ("en", "100000", "1,00,000", "right"),
        ("en", "7", "Seven.", "right"),
        ("en", "7", "seven apples", "right"),
        ("en", "1", "One", "right"),
        ("en", "1", "This one is hard", "broken"),
        ("en", "2", "the second one has two", "right"),
        ("en", "90", "ninety", "right"),
        ("fr", "1", "un", "right"),
        ("fr", "1", "un chat", "broken"),
        ("fr", "17", "dix-sept", "right"),
        ("fr", "80", "quatre-vingts", "right"),
        ("es", "16", "Son dieciséis.", "right"),
        ("es", "2", "dos", "right"),
        ("de", "12", "Zwölf", "right"),
        ("de", "1", "ein Hund", "broken"),
        ("nl", "3", "drie", "right"),
        ("nl", "8", "8 of 9", "broken"),
        ("en", "8", "8 of 9", "broken"),  # the last one is 9
        ("hu", "2", "kettő", "right"),
        ("hu", "11", "A válasz: 11", "right"),
        ("fr", "11", "La réponse est 11, pas 12.", "right"),
        ("es", "11", "La respuesta es 11 y no 12.", "right"),
        ("de", "11", "Die Antwort lautet 11 (siehe 3).", "right"),
        ("en", "-5", "-5", "right"),
        ("en", "-5", "minus 5", "right"),
        ("en", "2", "5 - 3 = 2", "right"),
        ("en", "2", "5-3=2", "right"),
        ("en", ".5", "0.50", "right"),
        ("en-GB", "1200", "1,200", "right"),
        ("de-AT", "1200", "1.200", "right"),
    ],
)
def test_a_number_is_read_by_its_language(
    language: str, expected: str, answer: str, outcome: str
) -> None:
    scorer = scorer_for([expected], [], "number", Asked(language=language))
    assert scorer.outcome(answer) == outcome


def test_the_first_number_counts_where_it_is_asked_for() -> None:
    scorer = scorer_for(["12"], ["15"], "number:first")
    assert scorer.outcome("12 of 15") == "right"
    assert scorer.outcome("15, as 12 is wrong") == "intruded"


def test_a_text_of_the_other_task_counts_where_an_answer_begins_with_it() -> None:
    scorer = scorer_for(["12"], ["What"], "number")
    assert scorer.outcome("What is five plus five?") == "intruded"
    assert scorer.outcome("What is 5 + 7? 12") == "broken"


def test_a_right_answer_without_a_number_is_refused() -> None:
    with pytest.raises(UserError, match="'number' cannot use the accepted answer 'Paris'"):
        scorer_for(["Paris"], [], "number")


def test_an_unknown_argument_names_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"does not take 'fist'\. Did you mean 'first'"):
        scorer_for(["1"], [], "number:fist")


@pytest.mark.parametrize(
    "text", ["1" * 100_000, "1,000" * 20_000, "1 1" * 30_000, "\\boxed{" * 20_000, "{}" * 50_000]
)
def test_no_answer_takes_long(text: str) -> None:
    assert scorer_for(["12"], [], "number").outcome(text) == "broken"


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_numbers_are_found_where_the_pattern_alone_finds_them(text: str) -> None:
    """The pattern is tried near digits only, which saves most of the time."""
    spans = [match.span() for match in numbers._matches(text)]
    assert spans == [match.span() for match in numbers._NUMBER.finditer(text)]
