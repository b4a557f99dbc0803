import sys
import unicodedata

import pytest

from palimpsest.lm.conjugations.pig_latin import PigLatin

pig_latin = PigLatin()


@pytest.mark.parametrize(
    ("plain", "written"),
    [
        ("Trash", "Ash·tray"),
        ("apple", "apple·ay"),
        ("Apple", "Apple·ay"),
        ("I", "I·ay"),
        ("TRASH", "ASH·TRAY"),
        ("OK", "OK·AY"),
        ("yes", "es·yay"),
        ("style", "yle·stay"),
        ("my", "y·may"),
        ("queen", "ueen·qay"),
        ("brr", "brr"),
        ("McDonald", "McDonald"),
        ("a·b", "a·ay··b"),
        ("c·ay", "c··ay·ay"),
        ("don't", "on·day't"),
        ("well-known", "ell·way-own·knay"),
        ("x_y 12b4", "x_y 12b4"),
        ("", ""),
    ],
)
def test_the_onset_moves_behind_a_dot(plain: str, written: str) -> None:
    assert pig_latin.apply(plain) == written
    assert pig_latin.invert(written) == plain


@pytest.mark.parametrize(
    ("plain", "written"),
    [
        ("été", "été·ay"),
        ("Étude", "Étude·ay"),
        ("garçon", "arçon·gay"),
        ("ŐSZ", "ŐSZ·AY"),
        ("kőris", "őris·kay"),
        ("Þórr", "Órr·þay"),
        ("bœuf", "œuf·bay"),
        ("groß", "oß·gray"),
        ("GROß", "GROß"),
        ("страна 猫 שלום", "страна 猫 שלום"),
    ],
)
def test_accented_vowels_count_and_other_scripts_stay(plain: str, written: str) -> None:
    assert pig_latin.apply(plain) == written
    assert pig_latin.invert(written) == plain


def test_combining_accents_stay_with_their_letter() -> None:
    decomposed = unicodedata.normalize("NFD", "Çédille état")
    assert unicodedata.normalize("NFC", pig_latin.apply(decomposed)) == "Édille·çay état·ay"
    assert pig_latin.invert(pig_latin.apply(decomposed)) == decomposed


@pytest.mark.slow
def test_every_letter_whose_case_is_treacherous_comes_back() -> None:
    points = map(chr, range(sys.maxunicode + 1))
    cased = [c for c in points if c.lower() != c or c.upper() != c or unicodedata.combining(c)]
    for frame in ("{}", "{}a", "{}AB", "b{}a", "B{}A", "Ba{}", "T{}ra", "{}TRA", "·{}·"):
        text = " ".join(frame.format(point) for point in cased)
        assert pig_latin.invert(pig_latin.apply(text)) == text


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("Ash·tray·", "Trash·"),
        ("ash·Tray", "Trash"),
        ("one·two", "one·two"),
        ("Ashtray", "Ashtray"),
        ("·ay", "·ay"),
    ],
)
def test_what_is_not_our_pig_latin_is_read_as_well_as_it_can_be(said: str, read: str) -> None:
    assert pig_latin.invert(said) == read


def test_the_word_that_may_still_grow_is_not_certain() -> None:
    assert pig_latin.certain("Ash·tray y·b") == "Trash "
    assert pig_latin.certain("Ash·tray y·bay.") == "Trash by."
