from __future__ import annotations

import random

import pytest
from tests.report.diagnosis.factory import CELLS, fake_results, fake_rows
from tests.report.diagnosis.hostile import CHAT, IMAGE, SCRIPT, hostile_rows

from palimpsest.records.answers import AnswerRow
from palimpsest.report.diagnosis.page import render_page
from palimpsest.report.diagnosis.prompts import prompt_data
from palimpsest.report.diagnosis.regressions import (
    MAX_ANSWER,
    MAX_PROMPT,
    N_SHOWN,
    prompt_text,
    worst_regressions,
)


def plain_rows(outcomes: dict[str, tuple[str, str]], **changes: object) -> list[AnswerRow]:
    """Return plain answers of both models; each source is in the cell that its name begins with."""
    base, tuned, *_ = fake_rows(2)
    return [
        row._replace(
            key=row.key._replace(source_id=source),
            via="identity",
            cell=source[0],
            outcome=outcome,  # type: ignore[arg-type]
            **changes,  # type: ignore[arg-type]
        )
        for source, both in outcomes.items()
        for row, outcome in zip((base, tuned), both, strict=True)
    ]


def test_only_what_the_base_model_has_right_and_the_tuned_one_wrong_is_a_regression() -> None:
    rows = plain_rows(
        {
            "a1": ("right", "right"),
            "a2": ("right", "broken"),
            "a3": ("intruded", "broken"),
            "a4": ("broken", "right"),
            "b1": ("right", "intruded"),
        }
    )
    found = worst_regressions(rows, None)
    assert [one.source_id for one in found.shown] == ["a2", "b1"]
    assert (found.n, found.n_right_again, found.via) == (2, 0, None)
    assert found.shown[0].under is None


def test_no_cell_fills_the_list_and_the_order_of_the_rows_is_nothing() -> None:
    fell = ("right", "broken")
    rows = plain_rows({f"{cell}{place}": fell for cell in "ab" for place in range(10)})
    random.Random(0).shuffle(rows)
    found = worst_regressions(rows, None)
    assert [one.source_id for one in found.shown][:4] == ["a0", "b0", "a1", "b1"]
    assert (len(found.shown), found.n) == (N_SHOWN, 20)


def test_of_graded_answers_the_largest_fall_comes_first() -> None:
    rows = [
        row._replace(score=score)
        for row, score in zip(
            plain_rows(dict.fromkeys(("a1", "a2", "a3"), ("broken", "broken"))),
            (0.9, 0.8, 1.0, 0.2, 0.5, 0.6),
            strict=True,
        )
    ]
    found = worst_regressions(rows, None, tells_abilities=False)
    assert [(one.source_id, one.tuned.label) for one in found.shown] == [
        ("a2", "score 0.20"),
        ("a1", "score 0.80"),
    ]


def test_what_comes_back_is_shown_and_counted_but_chooses_nothing() -> None:
    rows = fake_rows(1_280)
    found = worst_regressions(rows, "fr")
    again = [row.outcome == "right" for row in rows if (row.role, row.via) == ("tuned", "fr")]
    assert 0 < found.n_right_again <= sum(again)
    assert [one.source_id for one in found.shown] == [
        one.source_id for one in worst_regressions(rows, "base64").shown
    ]
    assert all(one.under is not None for one in found.shown)
    assert {one.cell for one in found.shown} == set(CELLS)


def test_an_answer_that_is_missing_is_no_regression() -> None:
    rows = plain_rows({"a1": ("right", "broken")})
    assert worst_regressions(rows[:1], None).n == 0
    assert worst_regressions([], "fr").n == 0


def test_a_long_prompt_keeps_what_it_says_first_and_what_it_asks_last() -> None:
    fell = ("right", "broken")
    lines = "\n".join(["Repeat.", *(f"line {place}" for place in range(50)), "Output:"])
    [one] = worst_regressions(plain_rows({"a": fell}, prompt=lines), None).shown
    assert one.prompt.splitlines() == ["Repeat.", "…", *lines.splitlines()[-5:]]
    rows = plain_rows({"a": fell}, prompt="x" * 9_999, answer="y" * 9_999)
    [one] = worst_regressions(rows, None).shown
    assert (len(one.prompt), len(one.tuned.text)) == (MAX_PROMPT, MAX_ANSWER)


@pytest.mark.parametrize("text", ["[1] Input", "[]", '["a"]', '[{"role": "user"}]', "[" * 10])
def test_what_is_no_chat_is_shown_as_it_is(text: str) -> None:
    assert prompt_text(text) == text
    assert prompt_text(CHAT) == "‹system› <b>bold</b>\n\n‹user› Été?"


def test_hostile_texts_are_inert_in_the_list() -> None:
    rows = [
        row._replace(outcome="right" if row.role == "base" else "broken", via="identity")
        for row in hostile_rows()
    ]
    page = render_page(fake_results(vias=()), [], prompt_data([]), rows)
    listed = page.partition('id="regressions"')[2].partition("</section>")[0]
    assert "&lt;script&gt;" in listed
    assert SCRIPT not in page
    assert IMAGE not in page
    assert not set(listed) & {"\x00", "\u202e", "\u2028"}
    page.encode()


def test_without_a_regression_there_is_no_such_section() -> None:
    page = render_page(fake_results(), [], prompt_data([]), plain_rows({"a": ("right", "right")}))
    assert "regressions" not in page.partition("</style>")[2].partition("<script")[0]
