import pytest

from palimpsest.lm.scoring import scorer_for


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("Paris", "right"),
        (" Paris\n", "right"),
        ("\tParis \n\n", "right"),
        ("New  York", "right"),
        ("New\nYork", "right"),
        ("Cafe\u0301", "right"),
        ("Café", "right"),
        ("snake\\_case", "right"),
        ("Paris.", "broken"),
        ("paris", "broken"),
        ("PARIS", "broken"),
        ("Paris, France", "broken"),
        ("The answer is Paris", "broken"),
        ("'Paris'", "broken"),
        ("**Paris**", "broken"),
        ("Pari", "broken"),
        ("Cafe", "broken"),
        ("NewYork", "broken"),
        ("London", "intruded"),
        ("London ", "intruded"),
        ("London or Paris", "broken"),
        ("", "broken"),
        (" ", "broken"),
    ],
)
def test_only_the_whole_answer_counts(answer: str, outcome: str) -> None:
    scorer = scorer_for(["Paris", "New York", "Café", "snake_case"], ["London"], "exact")
    assert scorer.outcome(answer) == outcome


def test_what_no_accepted_text_begins_with_is_decided() -> None:
    scorer = scorer_for(["Paris"], ["London"], "exact")
    assert scorer.decided("Berlin")
    assert not scorer.decided("Par")
    assert not scorer.decided("Paris")
