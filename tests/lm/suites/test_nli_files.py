"""Where ``nli`` finds rows: every layout gives the same suite, and what is unclear is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.lm.suites.nli_rows import (
    BOTH,
    EN,
    FR,
    Rows,
    translated,
    with_words,
    write_folder,
    write_jsonl,
    write_parquet,
    write_saved,
    write_saved_splits,
    write_tsv,
)

from palimpsest.errors import UserError
from palimpsest.lm.suites.nli.suite import build
from palimpsest.lm.suites.suite import Suite

WRONG = [{**row, "premise": "Wrong split."} for row in EN]
OFFICIAL = [
    {
        "language": language,
        "gold_label": row["label"],
        "sentence1_binary_parse": "",
        "sentence1": row["premise"],
        "sentence2": row["hypothesis"],
        "promptID": "1",
        "pairID": str(number),
        "genre": "fiction",
        "match": "True",
    }
    for language, rows in {"ar": EN, "fr": FR, "en": EN}.items()
    for number, row in enumerate(with_words(rows), start=1)
]


def parallel(write: Callable[[Path, Rows], Path], suffix: str) -> Callable[[Path], Path]:
    def layout(folder: Path) -> Path:
        for language, rows in BOTH.items():
            write(folder / f"{language}{suffix}", rows)
        return folder

    return layout


def repository(folder: Path) -> Path:
    """Write the files of the dataset as the hub has them."""
    for language, rows in BOTH.items():
        write_parquet(folder / language / "test-00000-of-00001.parquet", WRONG)
        write_parquet(folder / language / "validation-00000-of-00002.parquet", rows[:3])
        write_parquet(folder / language / "validation-00001-of-00002.parquet", rows[3:])
    write_parquet(folder / "ar" / "validation-00000-of-00001.parquet", WRONG)
    write_parquet(folder / "all_languages" / "validation-00000-of-00001.parquet", WRONG)
    return folder


def saved_by_language(folder: Path) -> Path:
    """Write a DatasetDict whose keys are languages."""
    return write_saved_splits(folder, {"en": EN, "fr": FR, "ar": WRONG})


def saved_by_language_and_split(folder: Path) -> Path:
    for language, rows in BOTH.items():
        write_saved_splits(folder / language, {"train": WRONG, "validation": rows})
    return folder


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "TSV a language": parallel(write_tsv, ".tsv"),
    "TSV with words": lambda p: write_folder(p, {n: with_words(r) for n, r in BOTH.items()}),
    "JSON lines a language": parallel(write_jsonl, ".jsonl"),
    "Parquet a language": parallel(write_parquet, ".parquet"),
    "saved folder a language": parallel(write_saved, ""),
    "saved DatasetDict of languages": saved_by_language,
    "saved DatasetDict a language": saved_by_language_and_split,
    "the hub's repository": repository,
    "XNLI's TSV": lambda p: write_tsv(p / "xnli.dev.tsv", OFFICIAL),
    "XNLI's TSV in its folder": lambda p: write_tsv(p / "xnli.dev.tsv", OFFICIAL).parent,
    "XNLI's TSV in any order": lambda p: write_tsv(p / "rows.tsv", OFFICIAL[::-1]),
    "XNLI's JSON lines": lambda p: write_jsonl(p / "xnli.dev.jsonl", OFFICIAL),
    "all languages in Parquet": lambda p: write_parquet(p / "a.parquet", translated(as_lists=True)),
    "all languages in JSON": lambda p: write_jsonl(p / "a.jsonl", translated(as_lists=False)),
    "all languages saved": lambda p: write_saved(p, translated(as_lists=True), n_files=3),
    "all languages saved, with splits": lambda p: write_saved_splits(
        p, {"test": WRONG, "validation": translated(as_lists=True)}
    ),
    "a file of the cache": lambda p: (
        write_saved(p, translated(as_lists=True)) / "data-00000-of-00001.arrow"
    ),
}


def asked(suite: Suite) -> set[tuple[str, object, str]]:
    return {(example.language, example.prompt, example.right[0]) for example in suite.examples}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_the_same_suite(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    expected = build(write_folder(tmp_path / "expected"))

    suite = build(layout(tmp_path / "rows"))

    assert asked(suite) == asked(expected)
    assert suite.languages == ("en", "fr")
    assert suite.chance == expected.chance


def test_a_split_can_be_chosen_and_the_only_one_needs_no_choice(tmp_path: Path) -> None:
    rows = {"test": translated(as_lists=True), "validation": translated(as_lists=True)[:2]}
    folder = write_saved_splits(tmp_path / "splits", rows)

    assert len(build(folder).in_language("en")) == 2
    assert len(build(folder, split="test").in_language("en")) == 4

    one = write_saved_splits(tmp_path / "one", {"test": translated(as_lists=True)})
    assert len(build(one).in_language("en")) == 4


def test_dev_is_another_name_of_validation(tmp_path: Path) -> None:
    write_tsv(tmp_path / "xnli.dev.tsv", OFFICIAL)
    write_tsv(tmp_path / "xnli.test.tsv", OFFICIAL[:1])

    assert len(build(tmp_path, split="validation").in_language("en")) == 4


@pytest.mark.parametrize("name", ["en.tsv", "en.parquet", "en/rows.jsonl", "en/test.parquet"])
def test_the_name_of_a_single_file_says_its_language(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write = {".tsv": write_tsv, ".jsonl": write_jsonl, ".parquet": write_parquet}[path.suffix]

    assert build(write(path, EN)).languages == ("en",)


def test_a_language_that_nothing_names_can_be_given(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "rows.tsv", EN)

    assert build(path, languages=["en"]).languages == ("en",)
    with pytest.raises(UserError, match="does not say which language its rows are in"):
        build(path)
    with pytest.raises(UserError, match="does not say which language its rows are in"):
        build(path, languages=["en", "fr"])


def test_files_of_languages_that_are_not_wanted_are_not_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "rows")
    (folder / "de.tsv").write_bytes(b"\xff")
    (folder / "notes.md").write_text("Not rows.")

    assert build(folder, languages=["en", "fr"]).languages == ("en", "fr")
    with pytest.raises(UserError, match="not UTF-8"):
        build(folder)


def refusal(path: Path, **options: str) -> str:
    with pytest.raises(UserError) as caught:
        build(path, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone").startswith(f"No file or folder '{tmp_path / 'gone'}'.")


def test_a_file_of_another_kind_is_refused_with_those_that_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("premise,hypothesis,label\n")

    assert f"{path} is not a file of rows" in refusal(path)
    assert "(.tsv, .jsonl, .parquet)" in refusal(path)


def test_a_folder_without_rows_is_refused_with_what_it_has(tmp_path: Path) -> None:
    assert f"{tmp_path} has no rows that can be read." in refusal(tmp_path)
    for number in range(10):
        (tmp_path / f"{number}.csv").touch()

    assert "it has: 0.csv, 1.csv, 2.csv, 3.csv, 4.csv, 5.csv, 6.csv, 7.csv, …." in refusal(tmp_path)


def test_a_language_in_two_formats_is_refused(tmp_path: Path) -> None:
    write_jsonl(write_folder(tmp_path) / "fr.jsonl", FR)

    message = refusal(tmp_path)
    assert "has the language 'fr' several times: fr.jsonl, fr.tsv." in message


def test_a_split_in_two_formats_is_refused(tmp_path: Path) -> None:
    write_tsv(tmp_path / "xnli.dev.tsv", OFFICIAL)
    write_jsonl(tmp_path / "xnli.dev.jsonl", OFFICIAL)

    assert "the split 'validation' several times: xnli.dev.jsonl, xnli.dev.tsv." in refusal(
        tmp_path
    )


def test_a_missing_split_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    folder = write_saved_splits(tmp_path / "rows", {"train": EN, "test": EN})

    assert f"{folder} has no split 'validation'.\nIt has: train, test." in refusal(folder)
    assert "no split 'validation'" in refusal(folder, split="validation")


def test_a_missing_part_of_a_split_is_noticed(tmp_path: Path) -> None:
    repository(tmp_path / "rows")
    (tmp_path / "rows" / "fr" / "validation-00001-of-00002.parquet").unlink()

    assert "fr has 1 of the 2 files of the split 'validation'." in refusal(tmp_path / "rows")


@pytest.mark.parametrize("layout", ["XNLI's TSV", "TSV a language", "all languages saved"])
def test_a_split_of_what_has_none_is_refused(tmp_path: Path, layout: str) -> None:
    path = LAYOUTS[layout](tmp_path / "rows")

    assert f"{path} is not divided into splits, so split=test" in refusal(path, split="test")


@pytest.mark.parametrize(
    "content", ["", "[]", "null", '{"splits": 5}', "{}", "[" * 100_000, '{"splits": [{}]}']
)
def test_a_damaged_list_of_splits_is_refused(tmp_path: Path, content: str) -> None:
    folder = write_saved_splits(tmp_path / "rows", {"test": EN})
    (folder / "dataset_dict.json").write_text(content)

    assert str(folder) in refusal(folder)


def test_splits_never_lead_out_of_their_folder(tmp_path: Path) -> None:
    write_saved(tmp_path / "elsewhere", EN)
    folder = write_saved_splits(tmp_path / "rows", {"test": EN})
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["../elsewhere"]}))

    assert "has no rows that can be read" in refusal(folder)


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Changed permissions would not stop root, who may run the tests.
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)

    assert f"{tmp_path} cannot be read: Permission denied." in refusal(tmp_path)
