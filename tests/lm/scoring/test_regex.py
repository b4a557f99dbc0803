import time

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.scoring import form_for, scorer_for

# A pattern, an answer, and its outcome; `sorry` intrudes.
ANSWERS = [
    # dates and other formats, whole or anywhere
    (r"^\d{4}-\d\d-\d\d$", "2024-02-29", "right"),
    (r"^\d{4}-\d\d-\d\d$", " 2024-02-29\n", "right"),
    (r"^\d{4}-\d\d-\d\d$", "On 2024-02-29", "broken"),
    (r"^\d{4}-\d\d-\d\d$", "2024-02-29.", "broken"),
    (r"^\d{4}-\d\d-\d\d$", "2024\u201102\u201129", "broken"),
    (r"\d{4}-\d\d-\d\d", "On 2024-02-29.", "right"),
    (r"^#[0-9a-fA-F]{6}$", "#ff8800", "right"),
    (r"^#[0-9a-fA-F]{6}$", "`#ff8800`", "broken"),
    (r"#[0-9a-fA-F]{6}\b", "`#ff8800`", "right"),
    (r"^\S+@\S+\.\w+$", "ann@example.org", "right"),
    (r"^\S+@\S+\.\w+$", "ann @example.org", "broken"),
    (r"^\(\d{3}\) \d{3}-\d{4}$", "(555) 123-4567", "right"),
    (r"\$5\.00", "$5.00", "right"),
    (r"\$5\.00", "$5x00", "broken"),
    (r"C\+\+", "C++", "right"),
    (r"a{2,3}", "aa", "right"),
    (r"^a{2,3}$", "aaaa", "broken"),
    # case
    (r"(?i)paris", "PARIS", "right"),
    (r"paris", "Paris", "broken"),
    (r"(?i)été", "L'ÉTÉ", "right"),
    (r"(?i)straße", "STRASSE", "broken"),
    # lines
    (r"(?m)^b$", "a\nb\nc", "right"),
    (r"(?m)^b$", "a\r\nb\r\nc", "right"),
    (r"^b$", "a\nb\nc", "broken"),
    (r"^a\nb$", "a\r\nb", "right"),
    (r"(?s)a.c", "a\nc", "right"),
    (r"a.c", "a\nc", "broken"),
    (r"(?m)^Answer: \d+$", "So 5 + 7 = 12.\nAnswer: 12", "right"),
    (r"(?m)^Answer: \d+$", "So the Answer: 12", "broken"),
    (r"\A12\z", " 12 ", "right"),
    # lists and Markdown
    (r"^\s*[-*] ", "- one", "right"),
    (r"(?m)^[-*] .+\n[-*] .+\n[-*] ", "- one\n- two\n- three", "right"),
    (r"(?m)^[-*] .+\n[-*] .+\n[-*] ", "- one\n- two", "broken"),
    (r"^(?:\d+\. .+\n?){2}$", "1. one\n2. two\n", "right"),
    (r"(?:\d+, ){2}\d+", "1, 2, 3", "right"),
    (r"^(?:\w+, ){2}\w+$", "red, green, blue", "right"),
    (r"^(?:\w+, ){2}\w+$", "red, green and blue", "broken"),
    (r"^\*\*.+\*\*$", "**Paris**", "right"),
    (r"```python\n", "Here:\n```python\nx = 1\n```", "right"),
    (r"\\boxed\{12\}", r"So $\boxed{12}$.", "right"),
    (r"<b>.*?</b>", "<b>x</b>", "right"),
    # words
    (r"\bcat\b", "a cat.", "right"),
    (r"\bcat\b", "concat", "broken"),
    (r"\bcat\b", "a cat's", "right"),
    (r"(?i)\b(?:yes|no)\b", "No.", "right"),
    (r"(?i)\b(?:yes|no)\b", "Nobody knows", "broken"),
    (r"\d+ (?:apples|pears)", "12 pears", "right"),
    (r"\d+ (?:apples|pears)", "12\npears", "broken"),
    (r"^\d+\s+pears$", "12\u00a0pears", "broken"),
    (r"^\d+[\s\x{A0}]+pears$", "12\u00a0pears", "right"),
    # other languages and scripts
    (r"^\pL+$", "Été", "right"),
    (r"^\pL+$", "E\u0301te\u0301", "right"),
    (r"^\pL+$", "Été!", "broken"),
    (r"été", "l'e\u0301te\u0301", "right"),
    ("e\u0301te\u0301", "l'été", "right"),
    (r"(?:^|\PL)été(?:\PL|$)", "en été.", "right"),
    (r"(?:^|\PL)été(?:\PL|$)", "étés", "broken"),
    (r"^\p{Greek}+$", "λόγος", "right"),
    (r"[^\x00-\x7F]", "naïve", "right"),
    (r"[^\x00-\x7F]", "naive", "broken"),
    (r"猫", "黒い猫です", "right"),
    (r"\x{1F600}", "😀", "right"),
    (r"^\pN+$", "１２", "right"),
    (r"^\d+$", "１２", "broken"),
    # both, neither, nothing
    (r"sorry", "I am sorry, no", "broken"),
    (r"^no$", "sorry", "intruded"),
    (r"^no$", "I'm sorry, but no", "intruded"),
    (r"^$", "", "right"),
    (r"^$", " \n", "right"),
    (r".+", "", "broken"),
    (r"\x00", "a\x00b", "right"),
]


@pytest.mark.parametrize(("right", "answer", "outcome"), ANSWERS)
def test_a_pattern_is_found_anywhere(right: str, answer: str, outcome: str) -> None:
    assert scorer_for([right], ["sorry"], "regex").outcome(answer) == outcome


@pytest.mark.parametrize("pattern", [r"\bété\b", r"été\b", r"(?i)\bÉ", r"x|\bűr", r"garç\b"])
def test_an_edge_of_a_word_that_re2_cannot_see_is_refused(pattern: str) -> None:
    with pytest.raises(UserError, match="RE2 knows letters of English alone") as raised:
        scorer_for([pattern], [], "regex")
    assert r"(?:^|\PL)" in str(raised.value.hint)


@pytest.mark.parametrize("pattern", [r"\bgarçon\b", r"\\bé", r"é\Bx", r"\b5é"])
def test_other_patterns_with_accents_are_not(pattern: str) -> None:
    assert scorer_for([pattern], [], "regex").outcome("something else") == "broken"


@pytest.mark.parametrize("pattern", ["(", "[a", "a**", r"(a)\1", "(?=a)", "(?<!b)a", "a{1001}"])
def test_what_re2_does_not_know_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(UserError, match="cannot be used") as raised:
        scorer_for([pattern], [], "regex")
    assert "no lookaround and no backreferences" in str(raised.value.hint)


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "(.*)*x", "(a?){40}a{40}$"])
def test_no_pattern_can_hang(pattern: str) -> None:
    scorer = scorer_for([pattern], [], "regex")
    started = time.monotonic()
    scorer.outcome("a" * 50_000 + "!")
    assert time.monotonic() - started < 2


def test_a_pattern_on_both_sides_is_ambiguous() -> None:
    assert scorer_for(["a"], ["a"], "regex").ambiguous
    assert not scorer_for(["a"], ["b"], "regex").ambiguous


def test_a_lone_surrogate_in_an_answer_ends_nothing() -> None:
    # Endpoints and logs can send one, as JSON can.
    assert scorer_for(["blue"], ["sorry"], "regex").outcome("\ud800 blue") == "right"
    assert form_for("regex:^#").fits("# \udfff")
    schema = '{"type": "string", "pattern": "^a"}'
    assert scorer_for([schema], [], "json:schema").outcome('"a\\ud800"') == "right"
