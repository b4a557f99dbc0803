import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimpsest.errors import UserError
from palimpsest.lm.prompts import Message
from palimpsest.lm.suites import load_suite
from palimpsest.lm.suites.jsonl import A_LINE, build
from palimpsest.lm.suites.suite import Suite

ROW: dict[str, Any] = {
    "id": "1",
    "prompt": "Say 5 + 7 =",
    "answers": {"repeat": ["5"], "add": ["12", "twelve"]},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.jsonl"


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def refusal(path: Path, **options: str) -> str:
    with pytest.raises(UserError) as caught:
        build(path, **options)  # type: ignore[arg-type]
    return str(caught.value)


def languages_of(suite: Suite) -> list[str]:
    return [example.language for example in suite.examples]


def test_the_shortest_row_is_an_english_example_of_the_group_all(path: Path) -> None:
    path.write_text(A_LINE)

    (example,) = build(path).examples

    assert (example.source_id, example.cell, example.language) == ("1", "all", "en")
    assert example.prompt == "5 + 7 ="
    assert example.answers == {"sums": ("12",)}


def test_a_chat_becomes_messages(path: Path) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "5 + 7?"}]
    write(path, {"id": "1", "messages": chat, "answers": {"add": ["12"]}})

    (example,) = build(path).examples

    assert example.prompt == (Message("system", "Be brief."), Message("user", "5 + 7?"))


def test_the_first_ability_of_the_first_row_is_under_test(path: Path) -> None:
    other_order = {"add": ["3"], "repeat": ["1"]}
    write(path, ROW, ROW | {"id": "2", "answers": other_order})

    suite = build(path)

    assert [example.right for example in suite.examples] == [("5",), ("1",)]
    assert [example.intruding for example in suite.examples] == [("12", "twelve"), ("3",)]
    assert suite.parameters["ability"] == "repeat"


def test_another_ability_can_be_put_under_test(path: Path) -> None:
    suite = build(write(path, ROW), ability="add")

    assert suite.examples[0].right == ("12", "twelve")
    assert suite.examples[0].intruding == ("5",)


def test_rows_of_one_id_are_versions_in_several_languages(path: Path) -> None:
    rows = [ROW | {"lang": "fr"}, ROW | {"lang": "en"}, ROW | {"id": "2"}]
    suite = build(write(path, *rows))

    assert suite.languages == ("en", "fr")
    assert [e.source_id for e in suite.in_language("en")] == ["1", "2"]
    assert [e.source_id for e in suite.in_language("fr")] == ["1"]


def test_english_is_the_source_language_where_there_is_any(path: Path) -> None:
    french, german, english = (ROW | {"lang": lang} for lang in ("fr", "de", "en"))

    assert build(write(path, french, german, english)).source_language == "en"
    assert build(write(path, french, german)).source_language == "fr"
    assert build(write(path, french, german), source="de").source_language == "de"


def test_a_version_without_a_group_is_in_that_of_its_source(path: Path) -> None:
    suite = build(write(path, ROW | {"lang": "fr"}, ROW | {"group": "sums"}, ROW | {"id": "2"}))

    assert [example.cell for example in suite.examples] == ["sums", "sums", "all"]
    assert suite.cells == ("sums", "all")


def test_whole_numbers_count_as_text(path: Path) -> None:
    (example,) = build(write(path, ROW | {"id": 7, "answers": {"add": [12, "-3"]}})).examples

    assert example.source_id == "7"
    assert example.right == ("12", "-3")


def test_how_an_editor_saves_the_file_does_not_matter(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf\r\n" + json.dumps(ROW).encode() + b"\r\n  \r\n\n")

    assert build(path).examples == build(write(path, ROW)).examples


@pytest.mark.parametrize(
    "text", ["\x00 NUL", "x" * 100_000, "שלום \u202e<script>", "\u2028\x85 🙂"]
)
def test_prompts_and_answers_may_hold_any_text(path: Path, text: str) -> None:
    (example,) = build(write(path, ROW | {"prompt": text, "answers": {text: [text]}})).examples

    assert example.prompt == text
    assert example.answers == {text: (text,)}


def test_the_longest_answer_says_how_much_a_model_may_say(path: Path) -> None:
    assert build(write(path, ROW)).max_new_tokens == 10 + len("twelve")
    assert build(write(path, ROW | {"answers": {"a": ["été"]}})).max_new_tokens == 10 + 5
    assert build(path, max_new_tokens=3).max_new_tokens == 3


def test_an_answer_ends_with_its_line_unless_some_answer_has_several(path: Path) -> None:
    assert build(write(path, ROW)).stop == ("\n",)
    assert build(write(path, ROW | {"answers": {"a": ["one\n"]}})).stop == ("\n",)
    assert build(write(path, ROW | {"answers": {"a": ["one\ntwo"]}})).stop == ()


@pytest.mark.parametrize(
    ("option", "stop"), [("###", ("###",)), ("", ()), (r"\n\n", ("\n\n",)), (r"\t", ("\t",))]
)
def test_what_ends_an_answer_can_be_chosen(path: Path, option: str, stop: tuple[str, ...]) -> None:
    write(path, ROW)

    assert load_suite(f"jsonl:{path},stop={option}").stop == stop


def test_parameters_record_the_file(path: Path) -> None:
    parameters = build(write(path, ROW)).parameters

    assert parameters == {
        "file": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "ability": "repeat",
        "source": "en",
    }


def test_a_home_folder_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(write(path, ROW).parent))

    assert len(load_suite("jsonl:~/mine.jsonl").examples) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": None}, "field id: expected text, not null."),
        ({"id": ""}, "field id: empty."),
        ({"id": True}, "field id: expected text, not true."),
        ({"prompt": None}, "field prompt: missing, and so is 'messages'."),
        ({"prompt": " \n"}, "field prompt: empty."),
        ({"prompt": 5}, "field prompt: expected text, not 5."),
        (
            {"messages": [{"role": "user", "content": "x"}]},
            "field messages: comes with 'prompt'; keep one of them.",
        ),
        ({"messages": []}, "field messages: empty."),
        (
            {"prompt": None, "messages": [{"role": "assistant", "content": "x"}]},
            "field messages: the last one must have the role 'user'.",
        ),
        (
            {"messages": [{"role": "human", "content": "x"}]},
            "field messages.0.role: input should be 'system', 'user' or 'assistant'.",
        ),
        ({"messages": [{"role": "user"}]}, "field messages.0.content: missing."),
        (
            {"messages": [{"role": "user", "content": "x", "nme": "y"}]},
            "field messages.0.nme: unknown. The fields are: role, content.",
        ),
        ({"answers": {}}, "field answers: empty."),
        ({"answers": ["12"]}, 'field answers: expected an object in braces, {"ability": ["text"]}'),
        ({"answers": {"a": []}}, "field answers.a: empty."),
        ({"answers": {"a": "12"}}, "field answers.a: expected a list in brackets."),
        ({"answers": {"a": ["1", " "]}}, "field answers.a.1: empty."),
        ({"answers": {"a": [0.5]}}, "field answers.a.0: write the number 0.5 as text, in quotes."),
        ({"answers": {"a": [float("nan")]}}, "field answers.a.0: write the number nan as text"),
        ({"answers": {"a": [{"b": 1}]}}, 'field answers.a.0: expected text, not {"b": 1}.'),
        ({"lang": "a b"}, "field lang: expected a language tag of letters, digits and hyphens."),
        ({"lang": "fr|leet"}, "field lang: expected a language tag"),
        ({"lang": "fr\n"}, "field lang: expected a language tag"),
        ({"group": ""}, "field group: empty."),
        (
            {"langauge": "fr"},
            "field langauge: unknown. Did you mean 'lang'? The fields are: id, prompt, messages,",
        ),
        ({"prompt": "\ud800"}, "field prompt: half of a surrogate pair, which is no character."),
    ],
)
def test_a_malformed_row_is_refused_with_file_line_and_field(
    path: Path, change: dict[str, Any], words: str
) -> None:
    write(path, ROW, ROW | {"id": "2"} | change)

    assert refusal(path).startswith(f"{path}, line 2, {words}")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"id": 1', "not JSON: Expecting ',' delimiter (column 9)."),
        (b"prompt,answer", "not JSON: Expecting value (column 1)."),
        (b"[1]", "not an object in braces."),
        (b'{"id": "\xe9"}', "not UTF-8 (byte 0xe9)."),
        (b'{"id": "a\x00"}', "not JSON: Invalid control character at"),
        (b'{"id": "a", "id": "b"}', "the field 'id' comes twice."),
        (b"[" * 100_000, "not JSON that can be read: nested too deeply."),
        (b'{"id": ' + b"1" * 5000 + b"}", "the number 111111111… is too long."),
        (b'{"\\ud800": 1}', "half of a surrogate pair, which is no character."),
    ],
)
def test_a_line_that_is_no_json_object_is_refused_with_file_and_line(
    path: Path, line: bytes, words: str
) -> None:
    path.write_bytes(b"\n" + line + b"\n")

    assert refusal(path).startswith(f"{path}, line 2: {words}")


def test_the_first_five_mistakes_are_listed_and_the_others_counted(path: Path) -> None:
    write(path, *[{"id": str(number), "answers": {"a": ["b"]}} for number in range(7)], ROW)

    lines = refusal(path).splitlines()

    assert lines[:5] == [
        f"{path}, line {number}, field prompt: missing, and so is 'messages'."
        for number in range(1, 6)
    ]
    assert lines[5:] == ["… and 2 more.", f"A line looks like: {A_LINE}"]


def test_what_a_terminal_would_act_on_is_shown_escaped(path: Path) -> None:
    write(path, ROW | {"id": "\x1b[31m\n"}, ROW | {"id": "\x1b[31m\n"})

    assert r"field id: '\x1b[31m\n' in 'en' is in line 1 too." in refusal(path)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([ROW, ROW], "line 2, field id: '1' in 'en' is in line 1 too."),
        ([ROW, ROW | {"id": 1}], "line 2, field id: '1' in 'en' is in line 1 too."),
        ([ROW, ROW | {"lang": "en"}], "line 2, field id: '1' in 'en' is in line 1 too."),
        (
            [ROW, ROW | {"id": "2", "lang": "fr"}],
            "line 2, field id: '2' has no version in 'en', the language of the plain prompts.",
        ),
        (
            [ROW, ROW | {"id": "2", "answers": {"add": ["3"]}}],
            "line 2, field answers: nothing for 'repeat', the ability under test.",
        ),
        (
            [ROW, ROW | {"lang": "fr", "group": "sums"}],
            "line 2, field group: 'sums', but its version in line 1 has 'all'.",
        ),
    ],
)
def test_rows_that_do_not_go_together_are_refused(
    path: Path, rows: list[dict[str, Any]], words: str
) -> None:
    assert f"{path}, {words}" in refusal(write(path, *rows))


def test_an_id_without_a_source_version_is_reported_once(path: Path) -> None:
    lost = [ROW | {"id": "2", "lang": lang} for lang in ("fr", "de")]

    assert refusal(write(path, ROW, *lost)).count("no version") == 1


@pytest.mark.parametrize("content", ["", "\n\r\n \n", "\ufeff"])
def test_a_file_without_rows_is_refused(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8")

    assert refusal(path) == f"{path} has no examples.\nWrite one a line: {A_LINE}"


def test_options_that_name_nothing_in_the_file_are_refused(path: Path) -> None:
    write(path, ROW, ROW | {"lang": "fr"})

    assert "the ability 'adds'. Did you mean 'add'?\nIt has: repeat, add." in refusal(
        path, ability="adds"
    )
    assert "has the language 'de'.\nIt has: en, fr." in refusal(path, source="de")


def test_a_file_that_cannot_be_read_is_named(path: Path) -> None:
    assert refusal(path) == f"No file '{path}'.\nCheck the path."
    assert f"{path.parent} cannot be read: Is a directory." in refusal(path.parent)


characters = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(characters, characters), min_size=1, max_size=5), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_prompt_and_answer_comes_out_as_it_went_in(
    tmp_path: Path, texts: list[tuple[str, str]], ascii_only: bool
) -> None:
    path = tmp_path / "any.jsonl"
    rows = [
        {"id": number, "prompt": prompt, "answers": {"a": [answer]}}
        for number, (prompt, answer) in enumerate(texts)
    ]
    lines = (json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    path.write_bytes("\n".join(lines).encode())

    suite = build(path)

    assert [(e.prompt, e.right[0]) for e in suite.examples] == texts
    assert languages_of(suite) == ["en"] * len(texts)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*ROW, "messages", "lang", "role", "x"]), inner, max_size=3
        )
    ),
)


@given(st.lists(json_values.map(json.dumps).map(str.encode) | st.binary(max_size=9), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused_with_the_name_of_the_file(
    tmp_path: Path, lines: list[bytes]
) -> None:
    path = tmp_path / "any.jsonl"
    path.write_bytes(b"\n".join(lines))

    assert str(path) in refusal(path)


CHOICE: dict[str, Any] = {
    "id": "1",
    "prompt": "5 + 7 =",
    "answers": {"add": ["12"]},
    "choices": [12, "57", "35"],
}


def test_choices_say_what_to_choose_among_and_what_guessing_is_worth(path: Path) -> None:
    suite = build(write(path, CHOICE, CHOICE | {"id": "2", "choices": ["12", "57"]}))

    assert suite.examples[0].choices == ("12", "57", "35")
    assert suite.chance == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_where_some_answers_are_generated_no_chance_level_is_claimed(path: Path) -> None:
    assert build(write(path, CHOICE, ROW | {"id": "2", "answers": {"add": ["12"]}})).chance is None


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (["12"], "expected two or more different ones"),
        (["12", "12"], "expected two or more different ones"),
        (["57", "35"], "none of them is right, an answer for 'add'"),
    ],
)
def test_choices_that_cannot_be_chosen_among_are_refused(
    path: Path, choices: list[str], said: str
) -> None:
    assert said in refusal(write(path, CHOICE | {"choices": choices}))


def test_a_huge_file_is_refused_unread(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**33)
    assert "8,192 MiB; at most 256 MiB are read" in refusal(path)
