import pytest

from palimpsest.lm.scoring import Asked, scorer_for

CITIES = Asked(choices=("London", "Paris", "New York", "York"))

# What was answered, where B (Paris) was right and A (London) the other task's.
ANSWERS = {
    "B": "right",
    "b": "right",
    " B\n": "right",
    "B.": "right",
    "B)": "right",
    "(B)": "right",
    "[B]": "right",
    "**B**": "right",
    "**B.**": "right",
    "**(B)**": "right",
    "`B`": "right",
    '"B"': "right",
    "B:": "right",
    "B: Paris": "right",
    "B) Paris": "right",
    "B. Paris": "right",
    "(b) Paris": "right",
    "B - Paris": "right",
    "B – Paris is the capital.": "right",
    "B\n\nParis is the capital of France.": "right",
    "B, since London is in England": "right",
    "Paris": "right",
    "paris.": "right",
    "**Paris**": "right",
    "It is Paris.": "right",
    "The capital of France is Paris": "right",
    "The answer is B": "right",
    "The answer is B.": "right",
    "The answer is (B).": "right",
    "The answer is **B**": "right",
    "The answer is: B": "right",
    "The correct answer is (B) Paris": "right",
    "Answer: B": "right",
    "ANSWER: B": "right",
    "answer: (b)": "right",
    "Option B": "right",
    "I choose option B.": "right",
    "Choice (B)": "right",
    "\\boxed{B}": "right",
    "$\\boxed{\\text{B}}$": "right",
    "\\boxed{Paris}": "right",
    "A is wrong. The answer is B.": "right",
    "A: London is in England. So the answer is B.": "right",
    "It could be A, but I think the answer is B": "right",
    "La réponse est B.": "right",
    "La respuesta es (B)": "right",
    "Die Antwort ist B": "right",
    "Die Antwort lautet: B": "right",
    "Het antwoord is B": "right",
    "A válasz: B": "right",
    "I think it is (B)": "right",
    "It must be B.": "right",
    "B!": "right",
    "A": "intruded",
    "a)": "intruded",
    "(A)": "intruded",
    "A. London": "intruded",
    "London": "intruded",
    "The answer is A.": "intruded",
    "Answer: A": "intruded",
    "A or B": "broken",
    "A and B": "broken",
    "A, B": "broken",
    "(A) (B)": "broken",
    "The answer is A or B": "broken",
    "The answer is (A) and (B)": "broken",
    "B) London": "broken",  # letter and text contradict each other
    "(B) London.": "broken",
    "London or Paris": "broken",
    "C": "broken",
    "E": "broken",
    "Both": "broken",
    "": "broken",
    "...": "broken",
    "A city in France": "broken",
    "I do not know": "broken",
    "York": "broken",
    "New York": "broken",
    "Bparis": "broken",
    "Be careful": "broken",
    "None of them": "broken",
    "AB": "broken",
}


@pytest.mark.parametrize(("answer", "outcome"), ANSWERS.items())
def test_a_choice_is_found_however_it_is_dressed(answer: str, outcome: str) -> None:
    assert scorer_for(["Paris"], ["London"], "choice", CITIES).outcome(answer) == outcome


@pytest.mark.parametrize("answer", ["B", "(B)", "The answer is B."])
def test_without_choices_letters_are_what_is_accepted(answer: str) -> None:
    assert scorer_for(["B"], ["C"], "choice").outcome(answer) == "right"


def test_a_letter_that_is_another_choices_text_is_not_guessed() -> None:
    scorer = scorer_for(["A"], [], "choice", Asked(choices=("B", "A")))
    assert scorer.outcome("A") == "broken"


def test_a_longer_choice_goes_before_one_within_it() -> None:
    scorer = scorer_for(["New York"], ["York"], "choice", CITIES)
    assert scorer.outcome("New York") == "right"
    assert scorer.outcome("York") == "intruded"
    assert scorer.outcome("C. New York") == "right"


@pytest.mark.parametrize("text", ["(" * 50_000, "A " * 50_000, "answer is " * 20_000, "*B" * 9_999])
def test_no_answer_takes_long(text: str) -> None:
    assert scorer_for(["Paris"], ["London"], "choice", CITIES).outcome(text) in (
        "broken",
        "intruded",
        "right",
    )
