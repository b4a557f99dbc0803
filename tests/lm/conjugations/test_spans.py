import pytest

from palimpsest.errors import UserError
from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.conjugations.leet import Leet
from palimpsest.lm.conjugations.spans import PATTERNS, Protected, survival

PROMPT = """Input: Add 3.5 and 1,000 to {total}.
Code: `x = so` at https://so.it/a?b=1.
```
so it is
```
Output:"""


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("labels", ["Input:", "Code:", "Output:"]),
        ("numbers", ["3.5", "1,000"]),
        ("placeholders", ["{total}"]),
        ("code", ["`x = so`", "```\nso it is\n```"]),
        ("urls", ["https://so.it/a?b=1"]),
    ],
)
def test_spans_of_a_kind_stay_and_everything_else_is_conjugated(kind: str, kept: list[str]) -> None:
    written = Protected(Leet(), (kind,)).apply(PROMPT)
    for span in kept:
        assert span in written
    for other in {"3.5", "{total}", "`x = so`", "https://so.it/a?b=1"} - set(kept):
        assert other not in written
    assert " 4nd " in written


def test_all_kinds_together_leave_no_span_changed() -> None:
    assert survival(PROMPT, parse_conjugation("protect(leet)").apply(PROMPT)) == 1
    assert survival(PROMPT, parse_conjugation("leet").apply(PROMPT)) < 0.5


def test_labels_stand_at_the_start_of_a_line_and_may_have_a_space_before_the_colon() -> None:
    protected = Protected(Leet(), ("labels",))
    assert protected.apply("Note: to: it\n  Entrée : so") == "Note: 70: 17\n  Entrée : 50"


def test_digits_inside_words_are_no_numbers() -> None:
    assert Protected(Leet(), ("numbers",)).apply("12 H2O 2nd") == r"12 H\2O \2nd"


def test_code_in_the_answer_is_left_alone_on_the_way_back() -> None:
    protected = parse_conjugation("protect(rot13,code)")
    assert protected.invert("Hfr `ls` urer") == "Use `ls` here"


@pytest.mark.parametrize(
    ("spec", "exact"),
    [
        ("protect(leet,labels+code+urls+placeholders)", True),
        ("protect(leet,numbers)", False),
        ("protect(pig-latin)", True),
        ("protect(rot13,urls)", False),
        ("protect(base64,urls)", False),
        ("protect(reverse-words,code)", False),
        ("protect(upper,code)", False),
        ("protect(leet|rot13,code)", False),
    ],
)
def test_exactness_is_claimed_only_where_spans_are_sure_to_be_found_again(
    spec: str, exact: bool
) -> None:
    assert parse_conjugation(spec).exact is exact


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("protect(leet,numbers)", "it"),
        ("protect(rot13,urls)", "uggc://n"),
        ("protect(base64,urls)", "http://a b"),
        ("protect(reverse-words,labels)", "say it:"),
        ("protect(base64,numbers)", "Ӎ5"),
    ],
)
def test_where_it_is_not_claimed_there_is_a_text_that_does_not_return(spec: str, text: str) -> None:
    conjugation = parse_conjugation(spec)
    assert not conjugation.exact
    assert conjugation.invert(conjugation.apply(text)) != text


def test_a_lossy_conjugation_says_what_is_kept_inside_and_outside_of_spans() -> None:
    assert parse_conjugation("protect(upper,code)").keeps.startswith("protected spans; else")
    assert "(numbers)" in parse_conjugation("protect(leet,numbers)").keeps


def test_the_order_of_kinds_does_not_matter() -> None:
    one, other = (parse_conjugation(f"protect(leet,{k})") for k in ("urls+code", "code+urls"))
    assert one.name == other.name == "protect(leet,code+urls)"
    assert one.fingerprint == other.fingerprint


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"named 'lables'.* 'labels'"):
        Protected(Leet(), ("lables",))


def test_a_span_that_may_still_grow_is_not_certain() -> None:
    protected = parse_conjugation("protect(leet)")
    assert protected.certain("7h3 `17` 15 3.") == "the `17` 15"
    assert protected.certain("7h3 `17 15 ") == "the "
    assert protected.certain("n0\nEntrée ") == "no"


def test_survival_is_the_share_of_spans_that_are_left() -> None:
    assert survival("no spans at all", "") == 1
    assert survival("Input: 5 and 5", "Entrée: 5") == pytest.approx(1 / 3)
    assert survival("5", "15") == 0
    assert survival("Input: 5", "Entrée: 5", kinds=["numbers"]) == 1
    assert list(PATTERNS) == ["code", "urls", "labels", "placeholders", "numbers"]
