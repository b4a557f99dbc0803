from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.conjugations.paper import LeetPaper, PigLatinPaper

SENTENCES = Path(__file__).parents[4] / "shared" / "data" / "paper_sentences"

needs_sentences = pytest.mark.skipif(
    not (SENTENCES / "en.txt").exists(),
    reason=f"The paper's sentences carry no licence to be copied here; put them in {SENTENCES}.",
)


@needs_sentences
@pytest.mark.parametrize(
    ("name", "file"), [("leet-paper", "ls.txt"), ("pig-latin-paper", "pl.txt")]
)
def test_the_paper_s_files_come_out_line_for_line(name: str, file: str) -> None:
    english = (SENTENCES / "en.txt").read_text(encoding="utf-8").splitlines()
    expected = (SENTENCES / file).read_text(encoding="utf-8").splitlines()
    assert len(expected) == 100
    assert [parse_conjugation(name).apply(line) for line in english] == expected


@pytest.mark.parametrize(
    ("plain", "written"),
    [
        ("Say it again.", "54Y 17 4g41N."),
        ("a cat! A dog", "4 C47! 4 D0G"),
        ("Input: say\nOutput:", "1npu7: 54Y\n0u7pu7:"),
        ("", ""),
    ],
)
def test_the_paper_s_leetspeak_capitalises_both_ends_of_words(plain: str, written: str) -> None:
    assert LeetPaper().apply(plain) == written


def test_the_paper_s_leetspeak_loses_digits_and_case() -> None:
    assert LeetPaper().invert(LeetPaper().apply("Ask 25 Men")) == "ask 2s men"


@pytest.mark.parametrize(
    ("plain", "written"),
    [
        ("Trash", "Ashtray"),
        ("any old apple", "anyay oldyay appleyay"),
        ("sister's", "isters-say"),
        ("water-skiing", "aterway-iingskay"),
        ("it’s", "itsyay"),
        ("Quick rhythm", "Uickqay ythmrhay"),
        ("brr, TV", "brr, TV"),
        ("NASA SCARS", "ASANAY ARS-SCAY"),
        ("McDonald", "Onaldmcday"),
    ],
)
def test_the_paper_s_pig_latin_by_example(plain: str, written: str) -> None:
    assert PigLatinPaper().apply(plain) == written


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Ashtray isters-say", "Trash sisters"),
        ("ethay atcay asway ereth", "the cat was ereth"),
        ("actuallyay ityay ouyay", "actually it you"),
        ("aterway-orldway", "water-world"),
        ("12 yay ay-ay -ay", "12 yay ay-ay -ay"),
    ],
)
def test_the_paper_s_pig_latin_is_read_back_by_a_good_guess(written: str, read: str) -> None:
    assert PigLatinPaper().invert(written) == read


pieces = [
    "a",
    "e",
    "y",
    "b",
    "s",
    "th",
    "ay",
    "say",
    "yay",
    "-",
    "'",
    "I",
    "TR",
    " ",
    "é",
    "e\u0301",
    "1",
]


@example("yy-yTR")
@example("y\u0301E\u0301")
@given(st.lists(st.sampled_from(pieces), max_size=14).map("".join) | st.text())
def test_the_model_could_not_tell_what_is_read_back_from_the_original(text: str) -> None:
    for conjugation in (PigLatinPaper(), LeetPaper()):
        written = conjugation.apply(text)
        assert conjugation.apply(conjugation.invert(written)) == written
