import pytest

from palimpsest.errors import UserError
from palimpsest.judging.via import parse_via
from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.suites.suite import Example, Suite


def suite(*languages: str) -> Suite:
    answers = {"repeat": ("What",), "answer": ("12",)}
    return Suite(
        name="small",
        examples=tuple(Example("1", "cell", tag, f"Say {tag}", answers) for tag in languages),
    )


SUITE = suite("en", "fr", "de", "leet")


def test_a_bare_conjugation_asks_in_the_source_language() -> None:
    via = parse_via("leet|upper", SUITE)
    assert via.language is None
    assert via.conjugation is parse_conjugation("leet|upper")
    assert (via.name, via.exact) == ("leet|upper", False)
    assert via.keeps == via.conjugation.keeps
    assert via.fingerprint == via.conjugation.fingerprint


def test_a_language_of_the_suite_asks_its_own_prompts_unchanged() -> None:
    via = parse_via("fr", SUITE)
    assert (via.language, via.name, via.conjugation.name) == ("fr", "fr", "identity")
    assert not via.exact
    assert "'fr'" in via.keeps


def test_a_language_may_be_conjugated_too() -> None:
    via = parse_via(" fr | leet ", SUITE)
    assert (via.language, via.name, via.conjugation.name) == ("fr", "fr|leet", "leet")
    assert "case" in parse_via("fr|upper", SUITE).keeps


def test_a_conjugation_wins_over_a_language_of_the_same_name_unless_native_is_said() -> None:
    assert parse_via("leet", SUITE).language is None
    native = parse_via("native:leet", SUITE)
    assert (native.language, native.name) == ("leet", "native:leet")
    assert parse_via("native:fr", SUITE).name == "fr"


def test_fingerprints_cover_language_and_conjugation() -> None:
    specs = ["identity", "leet", "fr", "de", "native:leet", "fr|leet", "fr|upper", "leet|upper"]
    assert len({parse_via(spec, SUITE).fingerprint for spec in specs}) == len(specs)
    assert parse_via("native:fr", SUITE).fingerprint == parse_via("fr", SUITE).fingerprint


@pytest.mark.parametrize("spec", ["identity", "en", "native:en", "en|identity"])
def test_the_source_language_unchanged_is_the_plain_way(spec: str) -> None:
    via = parse_via(spec, SUITE)
    assert (via.name, via.language, via.exact) == ("identity", None, True)
    assert via.fingerprint == parse_conjugation("identity").fingerprint
    assert via.spec == spec


def test_every_name_is_a_spec_for_the_same_way() -> None:
    for spec in ("leet", "fr", "native:leet|upper", "fr|protect(leet,code)", "en|leet"):
        via = parse_via(spec, SUITE)
        assert parse_via(via.name, SUITE).fingerprint == via.fingerprint


def test_conjugations_need_no_suite() -> None:
    assert parse_via("protect(leet,code)").exact
    with pytest.raises(UserError, match="named 'frr'") as caught:
        parse_via("frr")
    assert "Languages of the suite: none" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("leat", "No conjugation or language of the suite named 'leat'. Did you mean 'leet'"),
        ("frr", "Did you mean 'fr'"),
        ("native:frr", "No language of the suite named 'frr'. Did you mean 'fr'"),
        ("native:upper", "No language of the suite named 'upper'"),
        ("native:", "No language of the suite named ''"),
        ("leet|frr", "No conjugation named 'frr'"),
        ("translate:en", "in English already"),
        ("leet|native:fr", "No conjugation named 'native:fr'"),
        ("fr|", "has an empty link"),
        ("", "has an empty link"),
    ],
)
def test_what_is_neither_is_answered_with_the_nearest_of_both(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_via(spec, SUITE)


def test_the_languages_of_the_suite_are_listed_with_the_error() -> None:
    with pytest.raises(UserError) as caught:
        parse_via("xx", SUITE)
    assert "en, fr, de, leet" in str(caught.value)
