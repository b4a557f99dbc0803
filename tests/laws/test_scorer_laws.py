"""What every registered scorer promises; a new one is tested here by itself."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palimpsest.lm.scoring.scorers import SCORERS, scorer_for

# Texts that meet in the middle: prefixes of each other, accents, joiners, scripts without spaces.
WORDS = ["New", "New York", "New Year", "12", "120", "12.5", "____", "don", "don't", "café", "cafe"]
WORDS += ["猫", "猫背", "ő", "한", "하", "C++", r"\1\2", "in·nes", "Hi!", "الكتاب", '{"a": 1}']
PIECES = [*WORDS, " ", "\n", "\u00a0", ".", ",", "'", "’", "-", "_", "?", "=", "\x00", "{", "}"]
PIECES += ["\\", "\\_", "0", "5", "s", "York", "ᆫ", "です", "\u0301", "\u0328", "\u0338"]

texts = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=8)
answers = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3)

each = pytest.mark.parametrize("name", list(SCORERS))


@each
@given(answers, answers)
def test_every_accepted_text_is_scored_as_what_it_is_when_separable(
    name: str, right: list[str], intruding: list[str]
) -> None:
    scorer = scorer_for(right, intruding, name)
    if scorer.separable:
        assert {scorer.outcome(text) for text in right} == {"right"}
        assert {scorer.outcome(text) for text in intruding} == {"intruded"}


@each
@given(answers, answers, texts, texts)
@example(["café"], ["cafe"], "cafe", "\u0301")
@example(["12"], ["120"], "12\\", "_")
@example(["a\u0328\u0301"], ["x"], "a\u0301", "\u0328")
@example(["="], ["x"], "=", "\u0338")
@example(["New"], [], "a New", "ton")
@example(["ᾳ"], [], "ᾳ", "\u0301")
def test_a_decided_answer_keeps_its_outcome_whatever_follows(
    name: str, right: list[str], intruding: list[str], certain: str, more: str
) -> None:
    scorer = scorer_for(right, intruding, name)
    if scorer.decided(certain):
        assert scorer.outcome(certain + more) == scorer.outcome(certain)


@each
@given(answers)
def test_what_is_accepted_on_both_sides_is_ambiguous_and_never_guessed(
    name: str, both: list[str]
) -> None:
    scorer = scorer_for(both, both, name)
    assert scorer.ambiguous
    assert not scorer.separable
    assert {scorer.outcome(text) for text in both} == {"broken"}


@each
def test_an_empty_answer_is_broken_and_blank_texts_match_nothing(name: str) -> None:
    assert scorer_for(["12"], ["What"], name).outcome("") == "broken"
    assert scorer_for(["", "  "], [""], name).outcome("anything") == "broken"
