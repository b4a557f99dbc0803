from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.diagnosis.factory import CELLS, VIAS, fake_rows
from tests.report.diagnosis.hostile import CHAT, LONG, TEXTS, hostile_rows

from palimpsest.report.diagnosis.prompts import prompt_data, script_json

SOURCE, CELL, VIA, LANGUAGE, PROMPT, RIGHT, INTRUDING, BASE, TUNED = range(9)


class ScriptText(HTMLParser):
    """Collects the text of the one script element, as a browser would delimit it."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def through_a_page(text: str) -> Any:
    parser = ScriptText()
    parser.feed(f'<script type="application/json">{text}</script>')
    parser.close()
    assert parser.tags == ["script"]
    return json.loads(parser.text)


@given(st.text(st.characters()))
def test_any_string_survives_a_script_element(text: str) -> None:
    written = script_json(text)
    written.encode()
    assert not set(written) & set("<>&\u2028\u2029\u202e\x00")
    assert through_a_page(written) == text


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:12]))
def test_hostile_strings_survive_a_script_element(text: str) -> None:
    assert through_a_page(script_json(text)) == text


def test_base_and_tuned_answers_stand_side_by_side() -> None:
    rows = fake_rows(2 * len(CELLS) * (1 + len(VIAS)))
    data = json.loads(prompt_data(rows).json)
    assert data["cells"] == list(CELLS)
    assert data["vias"] == ["plain", *(via.name for via in VIAS)]
    assert len(data["items"]) == len(rows) // 2
    item = data["items"][0]
    base, tuned = rows[0], rows[1]
    assert item[PROMPT] == base.prompt
    assert item[RIGHT] == json.loads(base.right_answers)
    assert item[INTRUDING] == json.loads(base.intruding_answers)
    assert item[BASE][:2] == [data["outcomes"].index(base.outcome), base.raw]
    assert item[TUNED][:2] == [data["outcomes"].index(tuned.outcome), tuned.raw]


def test_an_inverted_answer_is_kept_only_where_it_differs() -> None:
    data = json.loads(prompt_data(hostile_rows()).json)
    assert data["items"][0][BASE][2].startswith("inverted ")
    plain = json.loads(prompt_data(fake_rows(2)).json)
    assert plain["items"][0][BASE][2] is None


def test_an_answer_that_one_model_lacks_is_null() -> None:
    data = json.loads(prompt_data(fake_rows(2)[1:]).json)
    assert data["items"][0][BASE] is None
    assert data["items"][0][TUNED] is not None


def test_a_prompt_of_its_own_is_kept_for_the_second_model() -> None:
    base, tuned = fake_rows(2)
    data = json.loads(prompt_data([base, tuned._replace(prompt=CHAT)]).json)
    assert data["items"][0][BASE][5] is None
    assert data["items"][0][TUNED][5] == CHAT


def test_long_texts_lose_their_middle_and_are_counted() -> None:
    (base, tuned) = fake_rows(2)
    found = prompt_data([base._replace(prompt=LONG), tuned._replace(prompt=LONG)])
    prompt = json.loads(found.json)["items"][0][PROMPT]
    assert found.n_texts_clipped == 1  # the prompt, which both share
    assert len(prompt) < 9_000
    assert prompt.startswith(LONG[:4_000])
    assert prompt.endswith(LONG[-4_000:])
    assert "92,000 characters are in answers.sqlite only" in prompt


def test_many_expected_texts_are_clipped_together() -> None:
    names = [f"name {i}" for i in range(10_000)]
    [row, _] = fake_rows(2)
    found = prompt_data([row._replace(intruding_answers=json.dumps(names))])
    [item] = json.loads(found.json)["items"]
    assert found.n_texts_clipped == 1
    [text] = item[INTRUDING]
    assert len(text) < 9_000
    assert text.startswith("name 0\nname 1\n")
    assert text.endswith("\nname 9999")


@pytest.mark.slow
def test_the_data_are_bounded_and_every_cell_keeps_as_many_examples() -> None:
    rows = fake_rows(8_000)
    found = prompt_data(rows, max_bytes=800_000)
    assert len(found.json) < 810_000
    assert found.n_answers_left_out
    assert found.n_answers + found.n_answers_left_out == len(rows)
    items = json.loads(found.json)["items"]
    counts = [sum(item[CELL] == place for item in items) for place in range(len(CELLS))]
    assert max(counts) - min(counts) <= 1 + len(VIAS)  # one source example


def test_every_version_of_a_source_example_stays_or_goes_together() -> None:
    items = json.loads(prompt_data(fake_rows(4_000), max_bytes=50_000).json)["items"]
    counts: dict[str, int] = {}
    for item in items:
        counts[item[SOURCE]] = counts.get(item[SOURCE], 0) + 1
    assert set(counts.values()) == {1 + len(VIAS)}


def test_no_answers_give_an_empty_list() -> None:
    found = prompt_data([])
    assert json.loads(found.json)["items"] == []
    assert found.n_answers == found.n_answers_left_out == 0


def test_only_prompts_that_lost_something_carry_how_much() -> None:
    whole, *_ = fake_rows(4)
    bent = whole._replace(round_trip=False, fidelity=0.8333333, survival=0.5)
    flagged = whole._replace(round_trip=True, fidelity=1.0, flags="a line came back unchanged")
    found = [
        json.loads(prompt_data([row]).json)["items"][0][-1]
        for row in (whole._replace(round_trip=True), bent, flagged)
    ]
    assert found == [None, [0.8333, 0.5, ""], [1.0, 1.0, "a line came back unchanged"]]


def test_flags_of_an_answer_stand_with_it_and_not_with_the_prompt() -> None:
    base, tuned, *_ = fake_rows(4)
    rows = [base._replace(flags="in the answer: unchanged line"), tuned]
    [item] = json.loads(prompt_data(rows).json)["items"]
    assert item[BASE][-1] == "in the answer: unchanged line"
    assert item[TUNED][-1] == ""
    assert item[-1] is None


def test_what_the_logs_do_not_tell_is_said_to_the_page() -> None:
    rows = [row._replace(score=0.25, outcome="broken") for row in fake_rows(4)]
    data = json.loads(prompt_data(rows, tells_abilities=False, from_logs=True).json)
    assert (data["abilities"], data["logged"]) == (False, True)
    assert data["items"][0][BASE][-1] == 0.25
    asked = json.loads(prompt_data(fake_rows(4)).json)
    assert (asked["abilities"], asked["logged"]) == (True, False)
    assert len(asked["items"][0][BASE]) == 7
