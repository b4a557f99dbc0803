import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.lm.translators.sentences import split_long, split_sentences

texts = st.text(st.sampled_from('ab .!?…。\n"”)ü1')) | st.text()


@given(texts)
def test_sentences_together_are_the_text(text: str) -> None:
    assert "".join(split_sentences(text)) == text
    assert all(split_sentences(text)) or not text


@given(texts, st.integers(1, 20))
def test_parts_together_are_the_text_and_as_short_as_words_allow(text: str, most: int) -> None:
    parts = split_long(text, most=most)
    assert "".join(parts) == text
    assert all(len(part) <= most or len(part.split()) == 1 or not part.strip() for part in parts)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("No end", ["No end"]),
        ("Pi is 3.14. Yes!", ["Pi is 3.14. ", "Yes!"]),
        ('He said "No." Then he left.', ['He said "No." ', "Then he left."]),
        ("Wait... What?! Oh", ["Wait... ", "What?! ", "Oh"]),
        ("see a.b.c for more", ["see a.b.c for more"]),
        ("一。二！三", ["一。", "二！", "三"]),
    ],
)
def test_a_sentence_ends_at_its_mark_if_a_space_follows(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences
