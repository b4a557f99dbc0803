import io
import json
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Palimpsest, Scripted

from palimpsest.cli.prompt import MOST_BYTES


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))


@pytest.fixture
def echoing(tmp_path: Path) -> str:
    """A model that says the same to everything, some of it dangerous to a terminal."""
    path = tmp_path / "rules.json"
    path.write_text(json.dumps([{"contains": "", "answer": " Été\x1b[31m\x9b1m"}]), "utf-8")
    return f"scripted:{path}"


def test_prompt_shows_the_way_through_the_conjugation(
    palimpsest: Palimpsest, scripted: Scripted
) -> None:
    ended = palimpsest(
        "prompt", "--model", scripted.suppressed, "--via", "rot13", "--json", "Copy: wordaa"
    )
    assert json.loads(ended.out) == {
        "prompt": "Copy: wordaa",
        "via": "rot13",
        "sent": "Pbcl: jbeqnn",
        "raw": " jbeqnn",
        "answer": " wordaa",
        "round_trip": 1.0,
        "notes": [],
    }


def test_an_ensemble_shows_every_member_and_the_vote(
    palimpsest: Palimpsest, scripted: Scripted
) -> None:
    arguments = ("prompt", "-m", scripted.suppressed, "--ensemble", "vote(rot13,identity,leet)")
    asked = json.loads(palimpsest(*arguments, "--json", "Copy: wordaa").out)
    assert asked["via"] == "vote(rot13,identity,leet)"
    assert asked["answer"] == " wordaa"
    # The model has no answer in leetspeak, and a blank answer abstains.
    assert [member["answer"] for member in asked["members"]] == [" wordaa", " loud", ""]
    assert [member["agrees"] for member in asked["members"]] == [True, False, False]
    shown = palimpsest(*arguments, "Copy: wordaa").out
    assert "rot13: s(P)\nPbcl: jbeqnn\n" in shown
    assert shown.endswith("vote: 1 of 3 (rot13)\n wordaa\n\n")


@pytest.mark.slow
def test_the_prompt_comes_from_the_argument_a_file_or_standard_input(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "prompt.txt"
    path.write_bytes(b"\xef\xbb\xbfCopy: wordaa\r\n")
    ask = ("prompt", "-m", scripted.base, "--json")
    answers = [palimpsest(*ask, "Copy: wordaa"), palimpsest(*ask, "--file", path)]
    for more in ((), ("-",), ("--file", "-")):
        pipe(monkeypatch, b"Copy: wordaa\n")
        answers.append(palimpsest(*ask, *more))
    assert {ended.out for ended in answers} == {answers[0].out}
    assert json.loads(answers[0].out)["answer"] == " wordaa"


def test_only_one_final_line_break_of_a_file_is_left_out(
    palimpsest: Palimpsest, echoing: str, tmp_path: Path
) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text(" Say it.\n\n", "utf-8")
    ended = palimpsest("prompt", "-m", echoing, "--json", "-f", path)
    assert json.loads(ended.out)["prompt"] == " Say it.\n"


@pytest.mark.slow
def test_a_system_message_and_the_prompt_are_conjugated_one_by_one(
    palimpsest: Palimpsest, echoing: str
) -> None:
    ended = palimpsest(
        "prompt", "-m", echoing, "--via", "leet", "--system", "Be brief.", "--json", "Say it."
    )
    assert json.loads(ended.out)["sent"] == [
        {"role": "system", "content": "B3 8r13f."},
        {"role": "user", "content": "S4y 17."},
    ]
    ended = palimpsest("prompt", "-m", echoing, "--chat", "--json", "Say it.")
    assert json.loads(ended.out)["prompt"] == [{"role": "user", "content": "Say it."}]


def test_what_a_model_says_cannot_act_on_the_terminal(palimpsest: Palimpsest, echoing: str) -> None:
    for options in ((), ("--json",)):
        out = palimpsest("prompt", "-m", echoing, *options, "Say it.").out
        assert "Été" in out
        assert "\x1b[31m" not in out
        assert "\x9b" not in out
    assert json.loads(out)["answer"] == " Été\x1b[31m\x9b1m"


def test_a_lossy_conjugation_says_how_much_of_the_prompt_comes_back(
    palimpsest: Palimpsest, echoing: str
) -> None:
    ended = palimpsest("prompt", "-m", echoing, "--via", "upper", "Say It.")
    assert "round trip has chrF 0." in ended.out


def test_a_cut_off_answer_is_noted_on_standard_error(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    path = tmp_path / "long.json"
    path.write_text(json.dumps({"Say it.": "one two three"}), "utf-8")
    ended = palimpsest("prompt", "-m", f"scripted:{path}", "--max-new-tokens", 2, "Say it.")
    assert "one two\n" in ended.out
    assert "Note: The answer was cut off after 2 tokens." in ended.err


def test_an_answer_ends_before_a_stop_string_as_it_stands_in_plain_text(
    palimpsest: Palimpsest, tmp_path: Path
) -> None:
    path = tmp_path / "turned.json"
    path.write_text(json.dumps({"Fnl vg.": " Gung. Vg."}), "utf-8")
    ended = palimpsest(
        "prompt", "-m", f"scripted:{path}", "--via", "rot13", "--stop", ".", "--json", "Say it."
    )
    asked = json.loads(ended.out)
    assert (asked["raw"], asked["answer"]) == (" Gung", " That")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "The prompt is empty"),
        ((" \n",), "The prompt is empty"),
        (("a", "--file", "b.txt"), "given twice"),
        (("--file", "nowhere.txt"), "No file 'nowhere.txt'"),
        (("--file", "."), "'.' cannot be read: Is a directory"),
        (("a", "--via", "leet", "--ensemble", "vote(leet,upper)"), "Both --via and --ensemble"),
        (("a", "--via", "leat"), "Did you mean 'leet'"),
        (("a", "--ensemble", "vote()"), "names nothing to vote"),
        (("a", "--stop", ""), "A stop string is empty"),
    ],
)
def test_mistakes_are_explained(
    palimpsest: Palimpsest,
    echoing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    pipe(monkeypatch, b"")
    ended = palimpsest("prompt", "-m", echoing, *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xff\xfe", "Standard input is not text in UTF-8 (byte 0xff at 0)"),
        (b"\x7fELF\0\0", "Standard input is not text: it has a zero byte"),
        (b"x" * (MOST_BYTES + 1), "Standard input has more than 1,000,000 bytes"),
    ],
)
def test_what_is_no_text_or_too_long_is_refused(
    palimpsest: Palimpsest, echoing: str, monkeypatch: pytest.MonkeyPatch, data: bytes, said: str
) -> None:
    pipe(monkeypatch, data)
    ended = palimpsest("prompt", "-m", echoing)
    assert ended.code == 2
    assert said in ended.err


def test_at_a_terminal_nothing_is_waited_for(
    palimpsest: Palimpsest, echoing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, b"")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    ended = palimpsest("prompt", "-m", echoing)
    assert ended.code == 2
    assert "There is no prompt" in ended.err
