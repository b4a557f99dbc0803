import itertools
from collections.abc import Iterable

import pytest

from palimpsest.rosetta.grammar import (
    LARGEST_ADDEND,
    NATURAL_LANGUAGES,
    SMALLEST_ADDEND,
    Fact,
    Split,
    addends,
    blank_first_word,
    facts,
    lexicon,
)

SPLITS: tuple[Split, ...] = ("train", "select", "report")


def test_the_splits_share_no_sentence_in_any_language() -> None:
    for language in NATURAL_LANGUAGES:
        texts = {split: {fact.render(language) for fact in facts(split)} for split in SPLITS}
        for one, other in itertools.combinations(SPLITS, 2):
            assert not texts[one] & texts[other]


def test_the_splits_share_no_pair_of_numbers_and_lose_none() -> None:
    pairs = [pair for split in SPLITS for pair in addends(split)]
    n_numbers = LARGEST_ADDEND - SMALLEST_ADDEND + 1
    assert len(pairs) == len(set(pairs)) == n_numbers**2


def test_the_mirror_image_of_every_held_out_pair_is_trained() -> None:
    trained = set(addends("train"))
    for split in SPLITS[1:]:
        assert all((second, first) in trained for first, second in addends(split))


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_the_rest_of_a_sentence_tells_its_first_word(language: str) -> None:
    missing: dict[str, set[str]] = {}
    for fact in itertools.chain.from_iterable(facts(split) for split in SPLITS):
        query, word = blank_first_word(fact.render(language))
        missing.setdefault(query.lstrip("_"), set()).add(word)
    assert all(len(words) == 1 for words in missing.values())


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_different_facts_are_different_sentences(language: str) -> None:
    every = [fact for split in SPLITS for fact in facts(split)]
    assert len({fact.render(language) for fact in every}) == len(every)


def test_every_template_exists_in_every_language() -> None:
    words = lexicon()
    assert tuple(words.languages) == NATURAL_LANGUAGES
    tables: list[Iterable[str]] = [words.labels, words.questions, *words.tasks.values()]
    for table in tables:
        assert set(table) == set(NATURAL_LANGUAGES)
    for entry in (*words.places, *words.times):
        assert set(entry) == set(NATURAL_LANGUAGES)


def test_sentences_agree_in_number_in_every_language() -> None:
    one, many = Fact(0, False, 0, 0, 0), Fact(0, True, 0, 0, 0)
    assert [one.render(language) for language in NATURAL_LANGUAGES] == [
        "The baker sells fresh bread in the village.",
        "Le boulanger vend du pain frais au village.",
        "El panadero vende pan fresco en el pueblo.",
        "De bakker verkoopt vers brood in het dorp.",
        "Der Bäcker verkauft frisches Brot im Dorf.",
    ]
    assert many.render("fr") == "Les boulangers vendent du pain frais au village."
