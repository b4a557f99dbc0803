"""What every registered scorer promises; a new one is tested here by itself."""

from contextlib import suppress
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import UserError
from palimpsest.lm.scoring.scorers import SCORERS, scorer_for

# Texts that meet in the middle: prefixes of each other, accents, joiners, scripts without spaces.
WORDS = ["New", "New York", "New Year", "12", "120", "12.5", "____", "don", "don't", "café", "cafe"]
WORDS += ["猫", "猫背", "ő", "한", "하", "C++", r"\1\2", "in·nes", "Hi!", "الكتاب", '{"a": 1}']
PIECES = [*WORDS, " ", "\n", "\u00a0", ".", ",", "'", "’", "-", "_", "?", "=", "\x00", "{", "}"]
PIECES += ["\\", "\\_", "0", "5", "s", "York", "ᆫ", "です", "\u0301", "\u0328", "\u0338"]

texts = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=8)

NAMES = [name for name in SCORERS if SCORERS.get(name).of_files]
each = pytest.mark.parametrize("name", NAMES)
each_of_texts = pytest.mark.parametrize(
    "name", [name for name in NAMES if SCORERS.get(name).of_texts]
)


@cache
def usable(name: str) -> tuple[str, ...]:
    """Return the words that a scorer takes for accepted answers."""
    found = []
    for word in WORDS:
        with suppress(UserError):
            scorer_for([word], [], name)
            found.append(word)
    return tuple(found)


def sides(name: str, data: st.DataObject, n: int) -> list[list[str]]:
    words = st.lists(st.sampled_from(usable(name)), min_size=1, max_size=3)
    return [data.draw(words) for _ in range(n)]


@each_of_texts
@given(st.data())
def test_every_accepted_text_is_scored_as_what_it_is_when_separable(
    name: str, data: st.DataObject
) -> None:
    right, intruding = sides(name, data, 2)
    scorer = scorer_for(right, intruding, name)
    if scorer.separable:
        assert {scorer.outcome(text) for text in right} == {"right"}
        assert {scorer.outcome(text) for text in intruding} == {"intruded"}


@each
@given(st.data(), texts, texts)
def test_a_decided_answer_keeps_its_outcome_whatever_follows(
    name: str, data: st.DataObject, certain: str, more: str
) -> None:
    right, intruding = sides(name, data, 2)
    scorer = scorer_for(right, intruding, name)
    if scorer.decided(certain):
        assert scorer.outcome(certain + more) == scorer.outcome(certain)


@each_of_texts
@pytest.mark.parametrize(
    ("right", "intruding", "certain", "more"),
    [
        ("café", "cafe", "cafe", "\u0301"),
        ("12", "120", "12\\", "_"),
        ("a\u0328\u0301", "x", "a\u0301", "\u0328"),
        ("=", "x", "=", "\u0338"),
        ("New", "", "a New", "ton"),
        ("ᾳ", "", "ᾳ", "\u0301"),
    ],
)
def test_a_decided_answer_keeps_its_outcome_also_where_characters_meet(
    name: str, right: str, intruding: str, certain: str, more: str
) -> None:
    if name == "number" and right != "12":
        pytest.skip("is no number")
    scorer = scorer_for([right], [intruding], name)
    if scorer.decided(certain):
        assert scorer.outcome(certain + more) == scorer.outcome(certain)


@each_of_texts
@given(st.data())
def test_what_is_accepted_on_both_sides_is_ambiguous_and_never_guessed(
    name: str, data: st.DataObject
) -> None:
    [both] = sides(name, data, 1)
    scorer = scorer_for(both, both, name)
    assert scorer.ambiguous
    assert not scorer.separable
    assert {scorer.outcome(text) for text in both} == {"broken"}


@each
def test_an_empty_answer_is_broken_and_blank_texts_match_nothing(name: str) -> None:
    first, *_, last = usable(name)
    assert scorer_for([first], [last], name).outcome("") == "broken"
    assert scorer_for(["", "  "], [""], name).outcome("anything") == "broken"
