import pytest

from palimpsest.lm.conjugations.leet import Leet

leet = Leet()


@pytest.mark.parametrize(
    ("plain", "written"),
    [
        ("abeiost", "4831057"),
        ("ABEIOST", "ABEIOST"),
        ("What is 5 plus 7?", r"Wh47 15 \5 plu5 \7?"),
        ("C:\\temp\\4", r"C:\\73mp\\\4"),
        ("29", r"\2\9"),
        ("é٣²", "é٣²"),
    ],
)
def test_leet_writes_letters_as_digits_and_escapes_digits(plain: str, written: str) -> None:
    assert leet.apply(plain) == written
    assert leet.invert(written) == plain


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("7he 4n5w3r", "the answer"),
        ("269", "269"),
        (r"\x", r"\x"),
        ("end\\", "end\\"),
        (r"\\\7", r"\7"),
    ],
)
def test_leet_reads_what_models_write_without_escapes(said: str, read: str) -> None:
    assert leet.invert(said) == read


def test_all_but_an_open_escape_is_certain() -> None:
    assert leet.certain("7h3") == "the"
    assert leet.certain("7h3\\") == "the"
    assert leet.certain("7h3\\\\") == "the\\"
