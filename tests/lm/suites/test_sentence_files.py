"""The package's own parallel sentences: aligned, clean, and each in its own language."""

from __future__ import annotations

import itertools
import re
import unicodedata
from pathlib import Path

import pytest

import palimpsest

FOLDER = Path(palimpsest.__file__).parent / "lm" / "suites" / "data" / "sentences"
LANGUAGES = ("en", "fr", "es", "nl", "de", "hu")
TRANSLATIONS = LANGUAGES[1:]
UNSPACED = ("zh",)
"""Languages whose words stand without spaces, and without capitals."""

# Frequent little words of each language that none of the other files happens to have.
FUNCTION_WORDS = {
    "en": "the and you to my your are it that this for when before with there have do she they",
    "fr": "les à est il une et dans au quand nous ce sont avant tout qui elle où ton ta mon pour",
    "es": "las por una del con está mis cuando para hay pero su todo qué quién muy sin lo siempre",
    "nl": "het een op mijn zijn ik voor aan maar ze naar dat deze heb hij waar niet uit om",
    "de": "der ist und das dem auf zu ein eine sie ich im wir wenn aus sind für von nicht",
    "hu": "az egy és meg minden volt amikor sem ki hogy nem mielőtt előtt után csak pedig ez itt",
}


def read(language: str) -> list[str]:
    text = (FOLDER / f"{language}.txt").read_bytes().decode("utf-8")
    assert text.endswith("\n")
    return text.removesuffix("\n").split("\n")


def words(sentence: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", sentence.lower())


def lines_with(language_of_words: str, sentences: list[str]) -> list[str]:
    wanted = set(FUNCTION_WORDS[language_of_words].split())
    return [sentence for sentence in sentences if not wanted.isdisjoint(words(sentence))]


def test_the_folder_has_one_file_a_language_and_nothing_else() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {
        f"{name}.txt" for name in (*LANGUAGES, *UNSPACED)
    }


def test_there_are_at_least_two_hundred_sentences() -> None:
    assert len(read("en")) >= 200


@pytest.mark.parametrize("language", [*TRANSLATIONS, *UNSPACED])
def test_every_file_has_as_many_lines_as_the_english_one(language: str) -> None:
    assert len(read(language)) == len(read("en"))


@pytest.mark.parametrize("language", [*LANGUAGES, *UNSPACED])
def test_no_sentence_is_there_twice(language: str) -> None:
    sentences = [sentence.casefold() for sentence in read(language)]
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize("language", [*LANGUAGES, *UNSPACED])
def test_accents_are_composed(language: str) -> None:
    assert [s for s in read(language) if not unicodedata.is_normalized("NFC", s)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_begins_with_a_capital_and_ends_with_a_mark(language: str) -> None:
    odd = [s for s in read(language) if not (s.lstrip("¿¡")[0].isupper() and s[-1] in ".!?")]
    assert odd == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_only_letters_plain_single_spaces_and_everyday_punctuation_are_used(language: str) -> None:
    odd = [
        sentence
        for sentence in read(language)
        if sentence != " ".join(sentence.split()) or re.search(r"[^\w ,.!?¿¡'-]|[\d_]", sentence)
    ]
    assert odd == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_first_word_is_whole_and_followed_by_a_space(language: str) -> None:
    # No apostrophe, so that the blank never swallows an article as in l'école.
    first = re.compile(r"[¿¡]?[^\W\d_]+(?:-[^\W\d_]+)* \w")
    assert [s for s in read(language) if not first.match(s)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_first_words_are_varied(language: str) -> None:
    sentences = read(language)
    # More than half are different, though articles come often where nouns can hardly go without.
    assert len({sentence.split()[0] for sentence in sentences}) > len(sentences) / 2


def test_english_sentences_have_five_to_fourteen_words() -> None:
    assert [s for s in read("en") if not 5 <= len(s.split()) <= 14] == []


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_no_sentence_is_left_in_english(language: str) -> None:
    assert [a for a, b in zip(read("en"), read(language), strict=True) if a == b] == []


@pytest.mark.parametrize("language", [*TRANSLATIONS, *UNSPACED])
def test_a_question_is_a_question_in_every_language(language: str) -> None:
    pairs = zip(read("en"), read(language), strict=True)
    assert [pair for pair in pairs if len({s.endswith(("?", "？")) for s in pair}) > 1] == []


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_translations_are_about_as_long_as_the_english_sentence(language: str) -> None:
    # A sentence that was cut short or run together with the next shows as half or twice as long.
    ratios = [len(b) / len(a) for a, b in zip(read("en"), read(language), strict=True)]
    assert min(ratios) > 0.5
    assert max(ratios) < 2


def test_spanish_marks_come_in_pairs() -> None:
    for sentence in read("es"):
        assert sentence.count("¿") == sentence.count("?")
        assert sentence.count("¡") == sentence.count("!")
        assert sentence.startswith("¿") == sentence.endswith("?")
        assert sentence.startswith("¡") == sentence.endswith("!")


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "es"])
def test_inverted_marks_are_only_spanish(language: str) -> None:
    assert [s for s in read(language) if "¿" in s or "¡" in s] == []


def test_french_has_a_space_before_question_and_exclamation_marks_only() -> None:
    odd = [s for s in read("fr") if re.search(r"[^ ][!?]", s) or re.search(r" [.,]", s)]
    assert odd == []


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "fr"])
def test_other_languages_have_no_space_before_a_mark(language: str) -> None:
    assert [s for s in read(language) if re.search(r" [.,!?]", s)] == []


@pytest.mark.parametrize(
    ("language", "letters"),
    [("fr", "éèêàçœ"), ("es", "ñáéíóú"), ("de", "äöüß"), ("hu", "őűáéíóöúü")],
)
def test_the_letters_of_a_language_are_there(language: str, letters: str) -> None:
    assert set(letters) <= set("".join(read(language)).lower())


@pytest.mark.parametrize("language", LANGUAGES)
def test_frequent_words_of_the_language_are_in_most_lines(language: str) -> None:
    assert len(lines_with(language, read(language))) > len(read(language)) / 2


@pytest.mark.parametrize(("language", "other"), list(itertools.permutations(LANGUAGES, 2)))
def test_no_line_has_frequent_words_of_another_language(language: str, other: str) -> None:
    # With the test before, one line in the wrong file is noticed more often than not.
    assert lines_with(other, read(language)) == []


def test_chinese_sentences_are_of_chinese_characters_with_a_mark_at_their_end() -> None:
    assert [s for s in read("zh") if not re.fullmatch(r"[\u4e00-\u9fff，、]+[。？！]", s)] == []


def test_the_first_characters_of_chinese_sentences_are_varied() -> None:
    # The blanked one is to be guessed from the sentence, not known beforehand.
    first = [sentence[0] for sentence in read("zh")]
    assert len(set(first)) > len(first) / 2
    assert max(map(first.count, first)) < len(first) / 15


def test_chinese_sentences_are_about_as_long_as_the_english_ones() -> None:
    ratios = [len(b) / len(a) for a, b in zip(read("en"), read("zh"), strict=True)]
    assert min(ratios) > 0.15
    assert max(ratios) < 0.6


def test_chinese_is_simplified_throughout() -> None:
    # Characters that would be written otherwise: a line in the other script shows some of them.
    traditional = set("這們來說時個會對為過後從見間開關車門問電話讓請誰買賣魚鳥長國學書幾樣")
    assert [s for s in read("zh") if traditional & set(s)] == []
