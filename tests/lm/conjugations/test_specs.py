import subprocess
import sys

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.conjugations.specs import split_links


def test_the_same_spec_gives_the_same_object() -> None:
    assert parse_conjugation("leet|upper") is parse_conjugation("leet|upper")


def test_links_are_applied_from_left_to_right() -> None:
    assert parse_conjugation("upper|leet").apply("so") == "SO"
    assert parse_conjugation("leet|upper").apply("so") == "50"


def test_spaces_around_links_do_not_matter() -> None:
    spaced = parse_conjugation(" leet | protect( rot13 , urls + code ) ")
    assert spaced.name == "leet|protect(rot13,code+urls)"
    assert spaced.fingerprint == parse_conjugation(spaced.name).fingerprint


def test_links_that_do_nothing_are_left_out() -> None:
    assert parse_conjugation("identity|leet|identity").name == "leet"
    assert parse_conjugation("identity|leet").fingerprint == parse_conjugation("leet").fingerprint
    assert parse_conjugation("identity|identity").name == "identity"


def test_a_chain_may_stand_inside_protection_and_the_other_way_round() -> None:
    conjugation = parse_conjugation("protect(leet|upper,labels)|rot13")
    assert conjugation.name == "protect(leet|upper,labels)|rot13"
    assert conjugation.apply("Input: say it") == "Vachg: 54L 17"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "has an empty link"),
        ("leet||upper", "has an empty link"),
        ("leet|", "has an empty link"),
        (" | leet", "has an empty link"),
        ("protect(leet", "parentheses in the conjugation .* do not match"),
        ("leet)", "parentheses in the conjugation .* do not match"),
        (")leet(", "parentheses in the conjugation .* do not match"),
        ("protect", "'protect' is not complete"),
        ("protect()", "is not complete"),
        ("protect(leet)x", "is not complete"),
        ("protect(leet,code,urls)", "is not complete"),
        ("protect(leet,)", "empty link"),
        ("protect(leet,code+)", "No kind of span named ''"),
        ("protec(leet)", "Did you mean 'protect'"),
        ("leet(upper)", "only 'protect' takes parentheses"),
        ("leat", "No conjugation named 'leat'. Did you mean 'leet'"),
        ("pig_latin", "Did you mean 'pig-latin'"),
        ("leet|uper", "Did you mean 'upper'"),
        ("protect(leat)", "Did you mean 'leet'"),
    ],
)
def test_a_malformed_spec_is_answered_with_what_is_wrong(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_conjugation(spec)
    assert caught.value.hint


def test_commas_and_bars_in_parentheses_belong_to_the_link() -> None:
    assert split_links("a(b|c,d(e|f))|g") == ["a(b|c,d(e|f))", "g"]
    assert split_links("b|c,d(e,f)", ",") == ["b|c", "d(e,f)"]


@pytest.mark.slow
def test_conjugations_load_nothing_heavy() -> None:
    code = "import sys, palimpsest.lm.conjugations as c; c.parse_conjugation('protect(leet|upper)')"
    code += "; print({'torch', 'transformers', 'numpy', 'pydantic', 'matplotlib'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
