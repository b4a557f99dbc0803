import json
from pathlib import Path

import pytest
from tests.cli.conftest import Palimpsest

ASK = ("recommend", "rosetta:tuned", "--base", "rosetta:base", "--quiet")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    english = "Repeat the input.\n\nInput: {0}\nOutput: {0}\n\nInput: What is {1}?\nOutput:"
    french = "Répète l'entrée.\n\nEntrée: {0}\nSortie: {0}\n\nEntrée: Combien font {1}?\nSortie:"
    cows, vaches = "Cows eat green grass.", "Les vaches mangent de l'herbe verte."
    lines = [
        {"id": sum_, "prompt": text.format(shown, sum_), "lang": language}
        for sum_ in ("5 plus 7", "9 plus 4")
        for language, text, shown in (("en", english, cows), ("fr", french, vaches))
    ]
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return path


@pytest.mark.slow
def test_the_ranking_is_a_table_and_says_what_is_excluded_and_why(
    palimpsest: Palimpsest, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    ended = palimpsest(*(part for part in ASK if part != "--quiet"), "-p", rows)
    assert ended.code == 0
    table, _, rest = ended.out.partition("Of 2 prompts those count")
    for column in ("Conjugation", "Brings back, %", "Best in, %", "Prompts", "Cost"):
        assert column in table
    assert any(line.startswith("leet ") and "×" in line for line in table.splitlines())
    assert "Most promising: " in rest
    assert "That is few to rank by" in ended.err


@pytest.mark.slow
def test_in_a_narrow_terminal_what_is_not_shown_is_named(
    palimpsest: Palimpsest, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = palimpsest(*(part for part in ASK if part != "--quiet"), "-p", rows, "--via", "leet").out
    table, _, left_out = out.partition("Not shown, for want of width: ")
    assert max(map(len, table.splitlines())) <= 40
    assert "Cost" not in table
    assert "Cost" in left_out


@pytest.mark.slow
def test_the_json_is_the_same_on_standard_output_and_in_a_file(
    palimpsest: Palimpsest, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "found.json"
    ended = palimpsest(*ASK, "-p", rows, "--via", "leet", "--via", "fr", "--json", "--out", out)
    assert ended.err == ""
    assert ended.out == out.read_text("utf-8")
    found = json.loads(ended.out)
    assert found["schema"] == "palimpsest.recommendation/2"
    assert {one["name"]: one["kind"] for one in found["candidates"]} == {
        "leet": "exact",
        "fr": "native",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-p", "nowhere.txt"), "No file 'nowhere.txt'"),
        (("-p", "empty.txt"), "'empty.txt' has no prompts"),
        (("-p", "picture.png"), "is not text in UTF-8"),
        (("-p", "."), "'.' cannot be read: Is a directory"),
        (("-p", "one.txt", "--via", "leat"), "Did you mean 'leet'"),
        (
            ("-p", "one.txt", "--via", "leet", "--out", "no/such/folder.json"),
            "There is no folder 'no/such'",
        ),
        (("-p", "long.txt", "--via", "leet"), "The base model answers none of the 1 prompts"),
        (("-p", "one.txt", "--base", "nowhere"), "nowhere"),
        ((), "Missing option '--prompts'"),
    ],
)
def test_mistakes_are_explained(
    palimpsest: Palimpsest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "one.txt").write_text("Say it.\n")
    (tmp_path / "long.txt").write_text("word " * 5000)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    base = () if "--base" in arguments else ("--base", "rosetta:base")
    ended = palimpsest("recommend", "rosetta:tuned", *base, "--quiet", *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
