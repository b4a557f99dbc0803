import json
from pathlib import Path
from typing import Any

import pytest

from palimpsest.errors import UserError
from palimpsest.judging.recommend import prompts as recommend_prompts
from palimpsest.judging.recommend.prompts import read_prompts
from palimpsest.lm.prompts import Message


def written(folder: Path, name: str, *rows: Any) -> Path:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def test_each_line_of_a_text_file_is_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"\xef\xbb\xbf Say it. \r\n\r\n  \nWhat is 5 plus 7?")
    suite = read_prompts(path)
    assert [(e.source_id, e.prompt) for e in suite.examples] == [
        ("line 1", " Say it. "),
        ("line 4", "What is 5 plus 7?"),
    ]
    assert suite.languages == ("en",)


def test_rows_need_no_answers_and_may_have_other_languages(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "prompts.jsonl",
        {"id": "1", "prompt": "Say it.", "lang": "en"},
        {"id": "1", "prompt": "Dis-le.", "lang": "fr"},
        {"id": 2, "messages": [{"role": "user", "content": "Hi"}], "answers": {"a": ["b"]}},
    )
    suite = read_prompts(path)
    assert suite.languages == ("en", "fr")
    assert [e.prompt for e in suite.in_language("en")] == ["Say it.", (Message("user", "Hi"),)]


def test_without_english_the_first_language_is_that_of_the_plain_prompts(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", {"id": "1", "prompt": "Sag es.", "lang": "de"})
    assert read_prompts(path).source_language == "de"


def test_a_limit_keeps_the_first_prompts_with_their_translations(tmp_path: Path) -> None:
    rows = [
        {"id": name, "prompt": f"{name} {lang}", "lang": lang}
        for lang in ("fr", "en")
        for name in ("a", "b", "c")
    ]
    suite = read_prompts(written(tmp_path, "a.jsonl", *rows), limit=2)
    assert [e.prompt for e in suite.examples] == ["a fr", "b fr", "a en", "b en"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "has no prompts"),
        ("a.txt", b" \n\n", "has no prompts"),
        ("a.jsonl", b"\n", "has no prompts"),
        ("a.txt", b"\x89PNG\r\n", "is not text in UTF-8"),
        ("a.txt", b"GIF89a\0\0", "it has a zero byte"),
        ("a.jsonl", b"Say it.", "a.jsonl, line 1: not JSON"),
        ("a.jsonl", b'{"prompt": "Say it."}', "a.jsonl, line 1, field id: missing"),
        ("a.jsonl", b'{"id": "1"}', "field prompt: missing"),
        ("a.jsonl", b'{"id": "1", "prompt": "a", "answr": {}}', "Did you mean 'answers'"),
        (
            "a.jsonl",
            b'{"id": "1", "prompt": "a"}\n{"id": "1", "prompt": "b"}',
            "line 2, field id: '1' in 'en' is in line 1 too",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_explained(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_prompts(path)
    assert said in str(error.value)


def test_a_missing_file_and_one_that_is_too_long_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"No file '.*nowhere.txt'"):
        read_prompts(tmp_path / "nowhere.txt")
    monkeypatch.setattr(recommend_prompts, "MOST_BYTES", 10)
    path = tmp_path / "a.txt"
    path.write_text("x" * 11)
    with pytest.raises(UserError, match="has more than 10 bytes"):
        read_prompts(path)
