import base64

from palimpsest.lm.conjugations import parse_conjugation


def test_identity_changes_nothing() -> None:
    identity = parse_conjugation("identity")
    assert identity.apply("Say it.") == identity.invert("Say it.") == "Say it."


def test_upper_writes_capitals_and_answers_come_back_in_lower_case() -> None:
    upper = parse_conjugation("upper")
    assert upper.apply("Où, Groß?") == "OÙ, GROSS?"
    assert upper.invert("OÙ, GROSS?") == "où, gross?"


def test_rot13_is_its_own_inverse_and_moves_ascii_letters_only() -> None:
    rot13 = parse_conjugation("rot13")
    assert rot13.apply("Why did é cross 13 roads?") == "Jul qvq é pebff 13 ebnqf?"
    assert rot13.apply(rot13.apply("Zebra")) == "Zebra"


def test_base64_is_that_of_the_utf8_bytes() -> None:
    text = "naïve 🙂\n"
    encoded = parse_conjugation("base64").apply(text)
    assert base64.b64decode(encoded).decode() == text


def test_base64_carries_lone_surrogates() -> None:
    conjugation = parse_conjugation("base64")
    assert conjugation.invert(conjugation.apply("\ud800 \udc00\ud800")) == "\ud800 \udc00\ud800"


def test_base64_may_stand_between_spaces() -> None:
    assert parse_conjugation("base64").invert(" U2F5IMOp\n") == "Say é"


def test_an_answer_that_is_not_base64_stays() -> None:
    invert = parse_conjugation("base64").invert
    for answer in (
        "12",
        "The answer is 12.",
        "Paris",
        "What",
        "U2F5!",
        "é",
        "=",
        "\ud800",
        "////////",
    ):
        assert invert(answer) == answer


def test_base64_that_was_cut_off_is_read_as_far_as_it_goes() -> None:
    conjugation = parse_conjugation("base64")
    text = "What is 5 plus 7, né?"
    whole = conjugation.apply(text)
    for length in range(8, len(whole) + 1):
        beginning = conjugation.invert(whole[:length])
        assert text.startswith(beginning)
        assert len(beginning.encode()) > length * 3 // 4 - 3


def test_words_are_reversed_line_by_line_and_white_space_stays() -> None:
    reverse = parse_conjugation("reverse-words")
    assert (
        reverse.apply("  one two\tthree \n\nfour five\r\n") == "  three two\tone \n\nfive four\r\n"
    )
