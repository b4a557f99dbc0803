"""What a row of ``nli`` must hold, and what languages must agree on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.lm.suites.nli_rows import BOTH, EN, FR, translated, write_folder, write_jsonl, write_tsv

from palimpsest.errors import UserError
from palimpsest.lm.suites.nli.rows import MOST_CHARACTERS
from palimpsest.lm.suites.nli.suite import build
from palimpsest.lm.suites.suite import Suite


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        build(path)
    return str(caught.value)


def alone(tmp_path: Path, row: Mapping[str, Any]) -> Suite:
    return build(write_jsonl(tmp_path / "en.jsonl", [row]))


@pytest.mark.parametrize(
    ("written", "label"),
    [
        (0, "entailment"),
        ("1", "neutral"),
        (2, "contradiction"),
        ("entailment", "entailment"),
        (" Neutral ", "neutral"),
        ("CONTRADICTION", "contradiction"),
        ("contradictory", "contradiction"),
    ],
)
def test_labels_are_numbers_or_words(tmp_path: Path, written: object, label: str) -> None:
    (example,) = alone(tmp_path, {**EN[0], "label": written}).examples
    assert example.source_id == f"{label}/000001"


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (3, "label: '3' is none of entailment, neutral, contradiction, 0, 1, 2."),
        ("entailed", "Did you mean 'entailment'?"),
        (True, "label: 'True' is none of"),
        (1.0, "label: '1.0' is none of"),
        ([0], "label: '[0]' is none of"),
        (None, "label: missing."),
        ("", "label: '' is none of"),
        ("-", "label: - says that the annotators did not agree. Leave such rows out."),
        (-1, "label: -1 says that the annotators did not agree."),
        ("\x1b[2J", r"label: '\x1b[2J' is none of"),
    ],
)
def test_an_unknown_label_is_named_with_file_and_line(
    tmp_path: Path, label: object, words: str
) -> None:
    path = write_jsonl(tmp_path / "en.jsonl", [EN[0], {**EN[1], "label": label}])

    assert refusal(path).startswith(f"{path}, line 2, ")
    assert words in refusal(path)


@pytest.mark.parametrize("field", ["premise", "hypothesis"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "missing."),
        ("", "empty."),
        (" \n", "empty."),
        (5, "expected text, not 5."),
        (["a"], "expected text, not ['a']."),
        ("\ud800", "half of a surrogate pair, which is no character."),
        ("x" * (MOST_CHARACTERS + 1), "10,001 characters; at most 10,000 are taken."),
    ],
)
def test_a_text_that_cannot_be_asked_is_named_with_file_line_and_field(
    tmp_path: Path, field: str, value: object, words: str
) -> None:
    path = write_jsonl(tmp_path / "en.jsonl", [EN[0], {**EN[1], field: value}])

    assert refusal(path).startswith(f"{path}, line 2, {field}: {words}")


def test_a_field_that_one_row_lacks_is_missing_there(tmp_path: Path) -> None:
    row = {"premise": "It snowed.", "label": 0}
    path = write_jsonl(tmp_path / "en.jsonl", [EN[0], row])

    assert refusal(path).startswith(f"{path}, line 2, hypothesis: missing.")


@pytest.mark.parametrize("column", ["premise", "hypothesis", "label"])
def test_a_missing_column_is_named_with_those_that_there_are(tmp_path: Path, column: str) -> None:
    rows = [{key + "s" * (key == column): value for key, value in row.items()} for row in EN]
    path = write_tsv(tmp_path / "en.tsv", rows)

    message = refusal(path)
    assert message.startswith(f"{path} has no column '{column}'. Did you mean '{column}s'?\nIt has")


def test_the_machine_translated_training_rows_have_columns_of_their_own(tmp_path: Path) -> None:
    row = {"premise": "Snow fell.", "hypo": "It snowed.", "label": "entailment"}

    (example,) = build(write_tsv(tmp_path / "en.tsv", [row])).examples
    assert str(example.prompt).startswith("Snow fell.\nQuestion: It snowed. True,")


def test_line_breaks_inside_a_text_become_spaces_and_accents_are_composed(tmp_path: Path) -> None:
    row = {"premise": " It\r\n was\u2028 Rene\u0301. ", "hypothesis": "So\tit was.", "label": 0}

    (example,) = alone(tmp_path, row).examples
    assert str(example.prompt).startswith("It was René.\nQuestion: So it was. True, False")


@pytest.mark.parametrize(
    "text", ['"Yes," she said.', "{x} %s \\n", "שלום \u202e<script>", "🙂\x00"]
)
def test_other_characters_stay_as_they_are(tmp_path: Path, text: str) -> None:
    row = {"premise": text, "hypothesis": text, "label": 0}

    (example,) = alone(tmp_path, row).examples
    assert example.prompt == f"{text}\nQuestion: {text} True, False or Neither?\nAnswer:"


def test_the_first_five_mistakes_are_listed_and_the_others_counted(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "en.tsv", [{**EN[0], "label": number} for number in range(3, 11)])

    lines = refusal(path).splitlines()
    assert [line.split(": ")[0] for line in lines[:5]] == [
        f"{path}, line {number}, label" for number in range(2, 7)
    ]
    assert lines[5] == "… and 3 more."
    assert lines[6].startswith("A row has a premise, a hypothesis and a label: entailment,")


def test_languages_must_have_as_many_rows(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"en": EN, "fr": FR[:3]})

    assert refusal(folder) == (
        "There are 3 rows in 'fr', but 4 in 'en'.\n"
        "Every language must have the same pairs, with the same labels."
    )


def test_a_label_that_languages_do_not_share_is_named_in_both_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"en": EN, "fr": [FR[0], FR[2], FR[1], FR[3]]})

    assert refusal(folder).splitlines()[:2] == [
        f"{folder}/fr.tsv, line 3: the label is contradiction, but neutral in {folder}/en.tsv, "
        "line 3.",
        f"{folder}/fr.tsv, line 4: the label is neutral, but contradiction in {folder}/en.tsv, "
        "line 4.",
    ]


def numbered(language: str, *ids: object) -> list[dict[str, Any]]:
    rows = zip(ids, BOTH[language], strict=True)
    return [{"pairID": pair_id, **row} for pair_id, row in rows]


def test_rows_with_ids_may_come_in_any_order(tmp_path: Path) -> None:
    rows = {"en": numbered("en", 1, 2, 3, 4), "fr": numbered("fr", 1, 2, 3, 4)[::-1]}

    suite = build(write_folder(tmp_path / "numbered", rows))
    plain = build(write_folder(tmp_path / "plain"))
    assert {(e.language, e.prompt) for e in suite.examples} == {
        (e.language, e.prompt) for e in plain.examples
    }
    assert {e.source_id for e in suite.examples} == {
        "entailment/1",
        "neutral/2",
        "contradiction/3",
        "entailment/4",
    }


def test_an_id_without_its_counterpart_is_named(tmp_path: Path) -> None:
    rows = {"en": numbered("en", 1, 2, 3, 4), "fr": numbered("fr", 1, 2, 3, 5)}
    folder = write_folder(tmp_path, rows)

    assert refusal(folder).splitlines()[:2] == [
        f"{folder}/en.tsv, line 5: its pairID '4' is missing in 'fr'.",
        f"{folder}/fr.tsv, line 5: its pairID '5' is missing in 'en'.",
    ]


def test_an_id_that_comes_twice_is_named(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "en.tsv", numbered("en", 1, 2, 1, 4))

    assert refusal(path).startswith(f"{path}, line 4: pairID '1' in 'en' is in {path}, line 2 too.")


def test_ids_that_only_one_language_has_are_not_used(tmp_path: Path) -> None:
    suite = build(write_folder(tmp_path, {"en": numbered("en", 7, 8, 9, 10), "fr": FR}))

    assert suite.examples[0].source_id.startswith("entailment/00000")


def test_an_id_that_cannot_be_shown_is_escaped(tmp_path: Path) -> None:
    row = {**EN[0], "pairID": "\ud800\x1b"}

    (example,) = alone(tmp_path, row).examples
    assert example.source_id == r"entailment/'\ud800\x1b'"


def test_a_row_that_lacks_a_language_of_the_others_is_named(tmp_path: Path) -> None:
    # Two such rows would leave as many in each language, and every pair behind them wrong.
    rows = translated(as_lists=False)
    del rows[1]["hypothesis"]["fr"]
    del rows[2]["premise"]["en"]
    path = write_jsonl(tmp_path / "all.jsonl", rows)

    assert refusal(path).splitlines()[:2] == [
        f"{path}, line 2, fr, hypothesis: missing.",
        f"{path}, line 3, en, premise: missing.",
    ]


def test_translations_must_be_as_many_as_their_languages(tmp_path: Path) -> None:
    rows = translated(as_lists=True)
    rows[1]["hypothesis"]["translation"].pop()
    path = write_jsonl(tmp_path / "all.jsonl", rows)

    assert f"{path}, line 2, en, hypothesis: missing." in refusal(path)


@pytest.mark.parametrize("broken", [{}, {"language": "en"}, {"language": [{}], "translation": []}])
def test_malformed_translations_are_refused(tmp_path: Path, broken: dict[str, Any]) -> None:
    rows = translated(as_lists=True)
    rows[1]["premise"] = broken
    path = write_jsonl(tmp_path / "all.jsonl", rows)

    assert str(path) in refusal(path)


def test_what_is_no_language_is_not_taken_for_one(tmp_path: Path) -> None:
    # Every row in every language would be too much to go through.
    rows = [{"premise": {f"id-{i}": "x"}, "hypothesis": "y", "label": 0} for i in range(200)]
    path = write_jsonl(tmp_path / "all.jsonl", rows)

    assert refusal(path).startswith(f"{path} has texts in 201 languages; at most 100 are taken.")


def test_languages_without_wording_are_left_alone(tmp_path: Path) -> None:
    rows = translated(as_lists=False)
    for row in rows:
        row["premise"]["sw"] = None
    path = write_jsonl(tmp_path / "all.jsonl", rows)

    assert build(path).languages == ("en", "fr")
