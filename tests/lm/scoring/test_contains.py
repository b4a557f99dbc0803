import pytest

from palimpsest.lm.scoring import scorer_for

# What was answered, where Paris was expected and London would be the other task's.
CAPITALS = {
    "The capital of France is Paris.": "right",
    "the capital of france is paris": "right",
    "PARIS": "right",
    "pArIs!": "right",
    "Paris, of course": "right",
    "It's Paris…": "right",
    "Paris;": "right",
    "(Paris)": "right",
    "[Paris]": "right",
    "{Paris}": "right",
    "“Paris”": "right",
    "‘Paris’": "right",
    "'Paris'": "right",
    "«\u00a0Paris\u00a0»": "right",
    "„Paris“": "right",
    "**PARIS**": "right",
    "***Paris***": "right",
    "*Paris*": "right",
    "_Paris_": "right",
    "__Paris__": "right",
    "`Paris`": "right",
    "~~London~~ Paris": "broken",
    "<b>Paris</b>": "right",
    "\\boxed{\\text{Paris}}": "right",
    "| Paris |": "right",
    "1. Paris": "right",
    "- Paris": "right",
    "# Paris": "right",
    "Answer:Paris": "right",
    "Answer=Paris": "right",
    "Sure! The answer you are looking for is:\n\nParis": "right",
    "I think it is Lyon. Wait, no: Paris.": "right",
    '{"capital": "Paris"}': "right",
    "capital_of_France = Paris": "right",
    "Paris/Lyon": "right",
    "Paris & Lyon": "right",
    "Paris\u00a0?": "right",
    "Pa\u00adris": "right",
    "\ufeffParis": "right",
    "😀Paris😀": "right",
    "答えはParisです": "right",
    "Париж, or Paris": "right",
    "C'est Paris": "right",
    "à Paris": "right",
    "d'Paris": "right",
    "It is not Paris.": "right",  # who means that takes another scorer
    "A parish, or Parisians.": "broken",
    "Parisian": "broken",
    "Par is": "broken",
    "Par\nis": "broken",
    "Not Par-is nor Paris-Orly.": "broken",
    "Paris's": "broken",
    "Paris’s": "broken",
    "Paris\u2011Orly": "broken",
    "EuroParis": "broken",
    "Paris2024": "broken",
    "Paris_2024": "broken",
    "my_Paris": "broken",
    "París": "broken",
    "Parîs": "broken",
    "P.a.r.i.s": "broken",
    "siraP": "broken",
    "London": "intruded",
    "london.": "intruded",
    "_London_": "intruded",
    "The city of London, UK": "intruded",
    "Londonderry": "broken",
    "London or Paris?": "broken",
    "Not London but Paris.": "broken",
    "Paris\n\nQ: And of the UK?\nA: London": "broken",
    "": "broken",
    " \n": "broken",
}


@pytest.mark.parametrize(("answer", "outcome"), CAPITALS.items())
def test_whole_words_count_wherever_they_stand_and_in_any_case(answer: str, outcome: str) -> None:
    assert scorer_for(["Paris"], ["London"], "contains").outcome(answer) == outcome


# Expected texts in the suites' languages, and scripts without spaces, with an answer.
LANGUAGES = [
    ("Italie", "C'est l'Italie.", "right"),
    ("Italie", "la capitale d’Italie", "right"),
    ("Italie", "Jusqu'Italie", "right"),
    ("été", "L'ÉTÉ", "right"),
    ("été", "l'e\u0301te\u0301", "right"),
    ("été", "l'étés", "broken"),
    ("œuf", "un ŒUF", "right"),
    ("cœur", "coeur", "broken"),
    ("don", "I don't", "broken"),
    ("can", "You can't", "broken"),
    ("clock", "three o'clock", "broken"),
    ("Straße", "STRASSE", "right"),
    ("Straße", "die strasse", "right"),
    ("Mädchen", "Das MÄDCHEN", "right"),
    ("Mädchen", "Madchen", "broken"),
    ("Haus", "Hausboot", "broken"),
    ("niño", "¿El niño?", "right"),
    ("niño", "¡NIÑO!", "right"),
    ("niño", "nino", "broken"),
    ("sí", "¡Sí!", "right"),
    ("sí", "si", "broken"),
    ("één", "Eén", "broken"),
    ("één", "ÉÉN", "right"),
    ("hűtő", "a HŰTŐ", "right"),
    ("hűtő", "hütö", "broken"),
    ("don't", "I don’t", "right"),
    ("well-known", "a well\u2011known one", "right"),
    ("東京", "首都は東京です。", "right"),
    ("東京", "京東", "broken"),
    ("กรุงเทพ", "คือกรุงเทพค่ะ", "right"),
    ("الكتاب", "هذا الكتاب.", "right"),
    ("New York", "new\nyork", "right"),
    ("New York", "New-York", "broken"),
    ("C++", "I like C++.", "right"),
    ("C++", "C", "broken"),
    (".env", "the .env file", "right"),
    ("a_b", "use `a_b` here", "right"),
    ("a_b", "use a\\_b here", "right"),
    ("a_b", "a_b_c", "broken"),
]


@pytest.mark.parametrize(("expected", "answer", "outcome"), LANGUAGES)
def test_words_of_other_languages_are_found_as_whole_words_too(
    expected: str, answer: str, outcome: str
) -> None:
    assert scorer_for([expected], [], "contains").outcome(answer) == outcome


@pytest.mark.parametrize(
    "text",
    ["120", "3.12", "-12", "1,12", "12.5", "a12", "12th", "−12", "12:30", "3/12", "12–15", "12½"],
)
def test_a_number_is_not_found_in_another(text: str) -> None:
    assert scorer_for(["12"], [], "contains").outcome(f"It is {text}.") == "broken"


@pytest.mark.parametrize("text", ["12", "12.", "(12)", "$12", "12 €", "12%", "12°", "=12", "12,"])
def test_a_number_is_found_beside_units_and_punctuation(text: str) -> None:
    assert scorer_for(["12"], [], "contains").outcome(f"It is {text} here") == "right"


def test_a_text_within_a_longer_accepted_one_does_not_count() -> None:
    scorer = scorer_for(["New York"], ["New"], "contains")
    assert scorer.outcome("I say New York.") == "right"
    assert scorer.outcome("A New one.") == "intruded"
    assert scorer.outcome("New York is New.") == "broken"


def test_what_is_found_is_decided_unless_the_other_side_may_follow() -> None:
    assert scorer_for(["Paris"], [], "contains").decided("It is Paris. ")
    assert not scorer_for(["Paris"], [], "contains").decided("It is Paris")
    assert not scorer_for(["Paris"], [], "contains").decided("It is Paris_")
    assert not scorer_for(["Paris"], ["London"], "contains").decided("It is Paris. ")
