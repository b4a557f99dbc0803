from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from palimpsest.report.text import (
    clipped,
    csv_text,
    number,
    p_value,
    percent,
    percent_interval,
    ratio,
    visible,
)


def test_a_negative_number_has_a_real_minus_sign_and_zero_has_none() -> None:
    assert number(-1.25, 2) == "−1.25"
    assert number(-0.0, 1) == "0.0"
    assert number(-0.04, 1, signed=True) == "0.0"


def test_a_number_that_is_not_there_or_not_finite_is_a_dash() -> None:
    assert [percent(value) for value in (None, math.nan, math.inf)] == ["–", "–", "–"]


def test_an_undefined_recovery_says_so() -> None:
    assert ratio(None) == "undefined"


def test_an_interval_of_a_difference_shows_both_signs() -> None:
    assert percent_interval((-0.05, 0.1), signed=True) == "[−5.0, +10.0]"


def test_tiny_p_values_are_bounded_and_not_called_zero() -> None:
    assert p_value(0.0) == "< 0.001"
    assert p_value(1.0) == "1.000"


@given(st.text(st.characters()), st.integers(3, 40))
def test_clipped_text_fits_and_keeps_both_ends(text: str, limit: int) -> None:
    short = clipped(text, limit)
    assert len(short) <= limit
    assert short == text or (short[0] == text[0] and short[-1] == text[-1])


@given(st.text(st.characters()))
def test_visible_text_can_be_written_as_utf8_and_holds_no_control_characters(text: str) -> None:
    shown = visible(text)
    shown.encode()
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in shown)


def test_marks_that_reorder_text_are_spelled_out() -> None:
    assert visible("a\u202eb\ud800") == "a⟦U+202E⟧b\ufffd"


def test_a_spreadsheet_shows_cells_as_text_and_numbers_as_numbers() -> None:
    cells = ["=1+1", "+1+1", "-1+1", "@a", "\ta", "\ra", "-0.5", "+1e-3", -0.5, None, "'=1"]
    rows = [{"=name": cell} for cell in cells]
    assert csv_text(rows).split("\n")[:-1] == [
        *("'=name", "'=1+1", "'+1+1", "'-1+1", "'@a", "'\ta", '"\'\ra"'),
        *("-0.5", "+1e-3", "-0.5", '""', "''=1"),
    ]
