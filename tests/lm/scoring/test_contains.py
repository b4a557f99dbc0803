import pytest

from palimpsest.lm.scoring import scorer_for


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("The capital of France is Paris.", "right"),
        ("the capital of france is paris", "right"),
        ("**PARIS**", "right"),
        ("A parish, or Parisians.", "broken"),
        ("Not Par-is nor Paris-Orly.", "broken"),
        ("London", "intruded"),
        ("London or Paris?", "broken"),
        ("", "broken"),
    ],
)
def test_whole_words_count_wherever_they_stand_and_in_any_case(answer: str, outcome: str) -> None:
    assert scorer_for(["Paris"], ["London"], "contains").outcome(answer) == outcome


@pytest.mark.parametrize("text", ["120", "3.12", "-12", "1,12", "12.5", "a12", "12th", "−12"])
def test_a_number_is_not_found_in_another(text: str) -> None:
    assert scorer_for(["12"], [], "contains").outcome(f"It is {text}.") == "broken"


def test_a_text_within_a_longer_accepted_one_does_not_count() -> None:
    scorer = scorer_for(["New York"], ["New"], "contains")
    assert scorer.outcome("I say New York.") == "right"
    assert scorer.outcome("A New one.") == "intruded"
    assert scorer.outcome("New York is New.") == "broken"


def test_what_is_found_is_decided_unless_the_other_side_may_follow() -> None:
    assert scorer_for(["Paris"], [], "contains").decided("It is Paris. ")
    assert not scorer_for(["Paris"], [], "contains").decided("It is Paris")
    assert not scorer_for(["Paris"], ["London"], "contains").decided("It is Paris. ")


def test_text_without_spaces_between_words_is_found() -> None:
    assert scorer_for(["東京"], [], "contains").outcome("首都は東京です。") == "right"
