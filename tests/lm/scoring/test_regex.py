import time

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.scoring import scorer_for


@pytest.mark.parametrize(
    ("right", "answer", "outcome"),
    [
        (r"^\d{4}-\d\d-\d\d$", "2024-02-29", "right"),
        (r"^\d{4}-\d\d-\d\d$", "On 2024-02-29", "broken"),
        (r"\d{4}-\d\d-\d\d", "On 2024-02-29.", "right"),
        (r"(?i)paris", "PARIS", "right"),
        (r"paris", "Paris", "broken"),
        (r"(?m)^b$", "a\nb\nc", "right"),
        (r"^b$", "a\nb\nc", "broken"),
        (r"(?s)a.c", "a\nc", "right"),
        (r"a.c", "a\nc", "broken"),
        (r"\bcat\b", "a cat.", "right"),
        (r"\bcat\b", "concat", "broken"),
        (r"^\pL+$", "Été", "right"),
        (r"^\pL+$", "Été!", "broken"),
        (r"[^\x00-\x7F]", "naïve", "right"),
        (r"猫", "黒い猫です", "right"),
        (r"^\s*[-*] ", "- one", "right"),
        (r"(?:\d+, ){2}\d+", "1, 2, 3", "right"),
        (r"^$", "", "right"),
        (r".+", "", "broken"),
        (r"sorry", "I am sorry, no", "broken"),
        (r"^no$", "sorry", "intruded"),
        (r"C\+\+", "C++", "right"),
        (r"\$5\.00", "$5.00", "right"),
        (r"\x{1F600}", "😀", "right"),
        (r"a{2,3}", "aa", "right"),
        (r"\d+ (?:apples|pears)", "12 pears", "right"),
    ],
)
def test_a_pattern_is_found_anywhere(right: str, answer: str, outcome: str) -> None:
    assert scorer_for([right], ["sorry"], "regex").outcome(answer) == outcome


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
