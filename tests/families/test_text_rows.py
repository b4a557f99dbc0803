from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from palimpsest.errors import UserError
from palimpsest.families.target import load_target
from palimpsest.families.text_rows import parse_text_row, read_text_suite
from palimpsest.lm import Message

TUNING_DATA = Path(__file__).parents[3] / "shared" / "data" / "tuning" / "instructions_en.json"

FORMS: list[tuple[dict[str, Any], Any, str]] = [
    ({"prompt": "5 plus 7 is", "completion": " 12"}, "5 plus 7 is", " 12"),
    ({"prompt": "5 plus 7 is", "answer": "12"}, "5 plus 7 is", " 12"),
    ({"prompt": "Sum:\n", "response": "12"}, "Sum:\n", "12"),
    ({"prompt": "", "answer": "12"}, "", "12"),
    ({"instruction": "Add.", "input": "", "output": "12"}, "Add.\n", "12"),
    ({"instruction": "Add.", "input": "5 7", "output": "12"}, "Add.\n5 7\n", "12"),
    ({"text": "All of it.", "meta": 1}, "", "All of it."),
    (
        {"messages": [{"role": "user", "content": "5+7"}, {"role": "assistant", "content": "12"}]},
        (Message("user", "5+7"),),
        "12",
    ),
]


@pytest.mark.parametrize(("fields", "prompt", "text"), FORMS)
def test_every_form_of_tuning_data_is_read(fields: dict[str, Any], prompt: Any, text: str) -> None:
    assert parse_text_row(fields) == (prompt, text)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"question": "5+7", "solution": "12"}, "its fields (question, solution) are in none"),
        ({}, "its fields (none) are in none"),
        ({"prompt": "5+7", "answer": " \n"}, "the text is empty"),
        ({"prompt": 5, "text": 7}, "in none of the forms"),
        ({"messages": [{"role": "user", "content": "5+7"}]}, "the last one has to be the"),
        ({"messages": [{"role": "assistant", "content": "12"}]}, "the last one has to be the"),
        ({"messages": ["5+7"]}, "each needs a role"),
        ({"messages": [{"role": "tool", "content": "12"}]}, "each needs a role"),
    ],
)
def test_what_is_in_none_of_them_is_refused_in_words(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_text_row(fields)


def write(path: Path, rows: list[Any], *, as_list: bool = False) -> Path:
    lines = json.dumps(rows) if as_list else "\n".join(map(json.dumps, rows))
    path.write_text(lines, "utf-8")
    return path


@pytest.mark.parametrize("as_list", [False, True])
def test_lines_and_lists_give_the_same_suite(tmp_path: Path, as_list: bool) -> None:
    rows = [{"prompt": f"{n}", "answer": "x", "cell": f"c{n % 2}"} for n in range(6)]
    suite = read_text_suite(write(tmp_path / "rows.json", rows, as_list=as_list), limit=2)
    assert [each.source_id for each in suite.examples] == ["000001", "000002", "000003", "000004"]
    assert suite.cells == ("c0", "c1")
    assert all(each.choices == each.right == (" x",) for each in suite.examples)


def test_bytes_are_those_of_the_text_in_utf_8(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"id": "a", "text": "Été"}])
    assert load_target(f"text:{path}").n_bytes == {"a": 5}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no rows"),
        ('{"prompt": "a"}', "line 1: its fields (prompt)"),
        ('{"text": "a"}\nnot json', "line 2: not JSON"),
        ('{"id": "a", "text": "a"}\n{"id": "a", "text": "b"}', "has an id twice"),
        ("[1]", "item 1: not an object"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_place(
    tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content, "utf-8")
    with pytest.raises(UserError) as error:
        load_target(f"text:{path}")
    assert said in str(error.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none.jsonl", "No file"), (tmp_path, "a directory|a folder")):
        with pytest.raises(UserError, match=said):
            load_target(f"text:{path}")


@pytest.mark.skipif(not TUNING_DATA.is_file(), reason="needs the tuning data beside the checkout")
def test_alpaca_files_are_read_as_they_are() -> None:
    suite = read_text_suite(TUNING_DATA, limit=20)
    assert len(suite.examples) == 20
    assert str(suite.examples[0].prompt).endswith("\n")
