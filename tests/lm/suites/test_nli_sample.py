"""The package's own rows for ``nli``: parallel, clean, and impossible to solve by half of a row."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import pytest
from scipy.stats import binomtest

from palimpsest.lm.suites.nli.suite import SAMPLE
from palimpsest.lm.suites.templates import INFERENCE_WORDINGS, LABELS

LANGUAGES = tuple(INFERENCE_WORDINGS)
TRANSLATIONS = LANGUAGES[1:]

# Frequent little words of each language; some are words of another as well.
FUNCTION_WORDS = {
    "en": "the and to of is was by her his its it has that for two at",
    "fr": "le les l et du des d est on à elle dans une au ses son pour qui sur",
    "es": "el los y del su sus con las por dos más lo al tiene como una se ha",
    "de": "der die und das ein eine ist den dem im zu mit ihr hat von auf man",
}

NEGATIONS = {
    "en": "no not never nothing nobody none neither without n't cannot",
    "fr": "pas jamais rien personne aucun aucune sans",
    "es": "no nunca nada nadie ningún ninguna sin tampoco",
    "de": "nicht nie nichts niemand kein keine keinen ohne",
}


class Row(NamedTuple):
    premise: str
    hypothesis: str
    label: str


def read(language: str) -> list[Row]:
    text = (SAMPLE / f"{language}.tsv").read_bytes().decode("utf-8")
    assert text.endswith("\n")
    header, *rows = [line.split("\t") for line in text.removesuffix("\n").split("\n")]
    assert header == list(Row._fields)
    return [Row(*row) for row in rows]


def sentences(language: str) -> list[str]:
    rows = read(language)
    return [*(row.premise for row in rows), *dict.fromkeys(row.hypothesis for row in rows)]


def words(sentence: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", sentence.lower())


def test_the_folder_has_one_file_a_language_and_nothing_else() -> None:
    assert {path.name for path in SAMPLE.iterdir()} == {f"{name}.tsv" for name in LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_are_thirty_rows_of_each_label(language: str) -> None:
    # Below 74 rows, even flawless answers cannot show that an ability was kept.
    assert Counter(row.label for row in read(language)) == dict.fromkeys(LABELS, 30)


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_rows_are_aligned(language: str) -> None:
    for field in ("label", "hypothesis"):
        pairs = zip(read("en"), read(language), strict=True)
        together = {(getattr(a, field), getattr(b, field)) for a, b in pairs}
        assert len(together) == len({a for a, _ in together}) == len({b for _, b in together})
    assert [row.label for row in read(language)] == [row.label for row in read("en")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_premise_is_there_twice(language: str) -> None:
    premises = [row.premise.casefold() for row in read(language)]
    assert len(set(premises)) == len(premises)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_hypothesis_comes_once_under_each_label(language: str) -> None:
    # So whatever looks at the hypothesis alone, words or length or meaning, is at chance.
    labels = defaultdict(list)
    for row in read(language):
        labels[row.hypothesis].append(row.label)
    assert {tuple(sorted(found)) for found in labels.values()} == {tuple(sorted(LABELS))}


@pytest.mark.parametrize("language", LANGUAGES)
def test_neither_is_the_order_of_the_rows_a_hint(language: str) -> None:
    rows = read(language)
    for place in range(3):
        assert set(Counter(row.label for row in rows[place::3]).values()) == {10}


# What a model may go by that does not compare the two sentences.
FEATURES: dict[str, Callable[[Row], Sequence[Hashable]]] = {
    "words of the premise": lambda row: sorted(set(words(row.premise))),
    "words of the hypothesis": lambda row: sorted(set(words(row.hypothesis))),
    "length of the premise": lambda row: [("tens", len(row.premise) // 10)],
    "length of the hypothesis": lambda row: [("tens", len(row.hypothesis) // 10)],
    "shared words": lambda row: [len({*words(row.premise)} & {*words(row.hypothesis)})],
    "marks": lambda row: sorted(set(re.findall(r"[,;:']", row.premise))) or ["none"],
}


def right_by_naive_bayes(rows: Sequence[Row], features: Callable[[Row], Sequence[Hashable]]) -> int:
    """Return how many rows are guessed from those with other hypotheses."""
    n_right = 0
    for row in rows:
        counts: dict[str, Counter[Hashable]] = {label: Counter() for label in LABELS}
        for other in rows:
            if other.hypothesis != row.hypothesis:
                counts[other.label].update(features(other))
        scores = {
            label: sum(math.log(counts[label][feature] + 1) for feature in features(row))
            for label in LABELS
        }
        n_right += max(scores, key=lambda label: scores[label]) == row.label
    return n_right


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
def test_guessing_from_anything_but_meaning_is_near_chance(
    language: str, features: Callable[[Row], Sequence[Hashable]]
) -> None:
    rows = read(language)

    n_right = right_by_naive_bayes(rows, features)

    # The rows are fixed, so this is no test of luck: with 24 combinations, some will be a little
    # above a third, and one in a hundred by chance alone would be here.
    assert binomtest(n_right, len(rows), 1 / 3, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize("language", LANGUAGES)
def test_negations_in_premises_tell_nothing(language: str) -> None:
    # In French, "ne" alone is none: "ne … que", "plus qu'elle n'en a"; and "pas" are also steps.
    negations = set(NEGATIONS[language].split())
    labels = Counter(row.label for row in read(language) if negations & set(words(row.premise)))
    assert all(labels[label] <= 3 for label in LABELS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_accents_are_composed(language: str) -> None:
    assert [s for s in sentences(language) if not unicodedata.is_normalized("NFC", s)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_begins_with_a_capital_and_ends_with_a_full_stop(language: str) -> None:
    assert [s for s in sentences(language) if not (s[0].isupper() and s[-1] == ".")] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_only_letters_plain_single_spaces_and_everyday_punctuation_are_used(language: str) -> None:
    odd = [
        s
        for s in sentences(language)
        if s != " ".join(s.split()) or re.search(r"[^\w ,.;'-]|\d", s)
    ]
    assert odd == []
    space = r"[^ ];" if language == "fr" else r" ;"
    assert [s for s in sentences(language) if re.search(rf"{space}| [,.]|[,;]\S", s)] == []


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_no_sentence_is_left_in_english(language: str) -> None:
    pairs = zip(sentences("en"), sentences(language), strict=True)
    assert [a for a, b in pairs if a == b] == []


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_translations_are_about_as_long_as_the_english_sentence(language: str) -> None:
    # A sentence that was cut short or run together with the next shows as half or twice as long.
    pairs = zip(sentences("en"), sentences(language), strict=True)
    ratios = [len(b) / len(a) for a, b in pairs]
    assert min(ratios) > 0.6
    assert max(ratios) < 1.7


@pytest.mark.parametrize("language", LANGUAGES)
def test_premises_have_ten_to_twenty_five_words(language: str) -> None:
    assert [row for row in read(language) if not 10 <= len(words(row.premise)) <= 25] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_frequent_words_of_the_language_are_in_every_premise_and_of_no_other(language: str) -> None:
    for row in read(language):
        found = {
            name: len(set(words(row.premise)) & set(frequent.split()))
            for name, frequent in FUNCTION_WORDS.items()
        }
        assert found.pop(language) > max(found.values()), row.premise
