import pytest

from palimpsest.lm.scoring import scorer_for

RIGHT = [
    "Paris",
    "New York",
    "Café",
    "snake_case",
    "l'été",
    "12",
    "Jean-Luc",
    "¿Qué?",
    "1,200",
    "C++",
]
INTRUDING = ["London", "Œuf", "..."]

ANSWERS = {
    # as it is, and with white space of all kinds around or doubled within
    "Paris": "right",
    " Paris\n": "right",
    "\tParis \n\n": "right",
    "\r\nParis\r\n": "right",
    "\u00a0Paris\u202f": "right",
    "\u3000Paris": "right",
    "New  York": "right",
    "New\nYork": "right",
    "New\u00a0York": "right",
    "New\tYork": "right",
    "NewYork": "broken",
    "New York City": "broken",
    "York": "broken",
    # what cannot be seen is no part of it
    "\ufeffParis": "right",
    "\u200bParis\u200b": "right",
    "Pa\u00adris": "right",
    "\u200eParis": "right",
    # accents in one character or two
    "Cafe\u0301": "right",
    "Café": "right",
    "Cafe": "broken",
    "Cafè": "broken",
    "Caf\u00e9\u0301": "broken",
    # Markdown escapes underscores
    "snake\\_case": "right",
    "snake_case": "right",
    "snakecase": "broken",
    "snake case": "broken",
    "snake-case": "broken",
    # apostrophes and hyphens as typesetters have them
    "l'été": "right",
    "l’été": "right",
    "lʼété": "right",
    "l´été": "broken",
    "l' été": "broken",
    "l'ete": "broken",
    "Jean\u2011Luc": "right",
    "Jean\u2010Luc": "right",
    "Jean–Luc": "broken",
    "Jean Luc": "broken",
    # case and punctuation count
    "paris": "broken",
    "PARIS": "broken",
    "pARIS": "broken",
    "Paris.": "broken",
    "Paris!": "broken",
    "Paris,": "broken",
    "Paris, France": "broken",
    "¿Qué?": "right",
    "¿Que\u0301?": "right",
    "Qué?": "broken",
    "C++": "right",
    "C ++": "broken",
    "C": "broken",
    # dress counts
    "'Paris'": "broken",
    '"Paris"': "broken",
    "“Paris”": "broken",
    "«\u00a0Paris\u00a0»": "broken",
    "**Paris**": "broken",
    "_Paris_": "broken",
    "`Paris`": "broken",
    "- Paris": "broken",
    "# Paris": "broken",
    "> Paris": "broken",
    "\\boxed{Paris}": "broken",
    "<b>Paris</b>": "broken",
    # sentences, beginnings, more than one
    "The answer is Paris": "broken",
    "Answer: Paris": "broken",
    "Sure! Paris": "broken",
    "Pari": "broken",
    "Parisian": "broken",
    "Paris\nParis": "broken",
    "London or Paris": "broken",
    "Paris\n\nInput: What is 5 plus 7?": "broken",
    # numbers as texts
    "12": "right",
    "12.0": "broken",
    "012": "broken",
    "+12": "broken",
    "１２": "broken",
    "twelve": "broken",
    "1,200": "right",
    "1200": "broken",
    # the other side
    "London": "intruded",
    "London ": "intruded",
    "Œuf": "intruded",
    "Oeuf": "broken",
    "...": "intruded",
    "…": "intruded",
    "..": "broken",
    # nothing
    "": "broken",
    " ": "broken",
    "\u200b": "broken",
    "\ufffd": "broken",
}


@pytest.mark.parametrize(("answer", "outcome"), ANSWERS.items())
def test_only_the_whole_answer_counts(answer: str, outcome: str) -> None:
    assert scorer_for(RIGHT, INTRUDING, "exact").outcome(answer) == outcome


def test_what_no_accepted_text_begins_with_is_decided() -> None:
    scorer = scorer_for(["Paris"], ["London"], "exact")
    assert scorer.decided("Berlin")
    assert not scorer.decided("Par")
    assert not scorer.decided("Paris")
