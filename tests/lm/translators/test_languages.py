import pytest

from palimpsest.lm.translators.languages import (
    base_language,
    canonical,
    checked,
    english_name,
    is_language,
    three_letters,
)


@pytest.mark.parametrize("code", ["en", "eng", "EN", "Eng", "en-GB", "en_gb", "eng-Latn-GB"])
def test_every_spelling_has_one_base(code: str) -> None:
    assert base_language(code) == "en"
    assert three_letters(code) == "eng"
    assert canonical(canonical(code)) == canonical(code)


@pytest.mark.parametrize("code", ["nds", "ast", "hbs"])
def test_languages_without_two_letters_are_left_as_they_are(code: str) -> None:
    assert canonical(code) == checked(code) == three_letters(code) == english_name(code) == code
    assert not is_language(code)


@pytest.mark.parametrize("text", ["", "e", "english", "e1", "en-", "x y", "leet", "en/es", "qq"])
def test_what_is_no_code_stays_as_it_is_and_is_no_language(text: str) -> None:
    assert canonical(text) == text
    assert not is_language(text)


def test_no_registered_conjugation_is_a_language() -> None:
    from palimpsest.lm.conjugations.specs import CONJUGATIONS

    assert not any(map(is_language, CONJUGATIONS))
