import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.lm.conjugations.test_translate import texts

from palimpsest.lm.conjugations.layout import lines, mask


def free(text: str) -> list[str]:
    return [part.text for line in lines(text) for part in line if part.free]


@given(texts)
def test_the_parts_are_the_text(text: str) -> None:
    assert "".join(part.text for line in lines(text) for part in line) == text


@given(texts, st.booleans())
def test_masks_are_undone(text: str, everything: bool) -> None:
    masked = mask(text, everything=everything)
    assert masked.restore(masked.text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Say it.  ", ["Say it."]),
        ("- one\n* two\n+ three\n• four", ["one", "two", "three", "four"]),
        ("1. one\n2) two\n(3) three\na) four\nA. five", ["one", "two", "three", "four", "five"]),
        ("# Title\n### Response:\n> said", ["Title", "said"]),
        (">>> one\n--- two ---\n===\n***", ["one", "two"]),
        ("Input: one\nEntrée : deux\nOutput:\n**Answer:** three", ["one", "deux", "three"]),
        ("Question 3: one\nOption (B): two", ["one", "two"]),
        ("I said: go home", ["I said: go home"]),
        ("one\ttwo\t5", ["one", "two"]),
        ("| one | two |\n|---|---|", ["one", "two"]),
        ("one -> two => three → four", ["one", "two", "three", "four"]),
        ("<|im_start|>user<|im_end|>[INST] one [/INST]", ["user", "one"]),
        ("```\ncode\n```\none", ["one"]),
        ("one ```code``` two", ["one", "two"]),
        ("one\n```python\ncode to the end", ["one"]),
        ("`a | b` is one", ["`a | b` is one"]),
        ("see http://a.b/c|d->e now", ["see http://a.b/c|d->e now"]),
        ("5 + 7 = {x}\n____\nhttp://a.b", []),
    ],
)
def test_only_what_is_said_is_free(text: str, expected: list[str]) -> None:
    assert free(text) == expected


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("Add 5 and 3.50 to 1,000.", ("5", "3.50", "1,000")),
        ("run `a b` on {x} and {{y}}", ("`a b`", "{x}", "{{y}}")),
        ("see https://a.b/c?d=1, or me@x.org.", ("https://a.b/c?d=1", "me@x.org")),
        ("the ____ of max_new_tokens", ("____", "max_new_tokens")),
        (
            "<b>bold</b> [NAME] ${HOME} $x %s %(y)d",
            ("<b>", "</b>", "[NAME]", "${HOME}", "$x", "%s", "%(y)d"),
        ),
        ("a < b and c > d, $5 off", ("5",)),
        ("a\x00b \ud800 ⟦0⟧", ("\x00", "\ud800", "⟦", "0", "⟧")),
    ],
)
def test_what_must_stay_is_masked(text: str, spans: tuple[str, ...]) -> None:
    assert mask(text).spans == spans
