import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import UserError
from palimpsest.lm.suites import SUITES, load_suite
from palimpsest.lm.suites.suite import parse_suite_spec

ROWS = """
{"id": 1, "group": "b", "prompt": "1 + 1 =", "answers": {"sum": [2]}}
{"id": 1, "group": "b", "lang": "fr", "prompt": "1 + 1 =", "answers": {"sum": [2]}}
{"id": 2, "prompt": "1 + 2 =", "answers": {"sum": [3]}}
{"id": 3, "lang": "fr", "prompt": "1 + 3 =", "answers": {"sum": [4]}}
{"id": 3, "prompt": "1 + 3 =", "answers": {"sum": [4]}}
{"id": 4, "prompt": "1 + 4 =", "answers": {"sum": [5]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a=1,rows.jsonl"
    path.write_text(ROWS)
    return path


def test_options_follow_a_colon_or_a_comma() -> None:
    for spec in ("rosetta:n=2,languages=en+fr", "rosetta,n=2,languages=en+fr", " rosetta: n=2"):
        assert load_suite(spec).parameters["n"] == 2
    assert load_suite("rosetta:n=1,languages=en + fr").languages == ("en", "fr")


def test_a_suite_is_called_what_the_user_typed() -> None:
    assert load_suite("rosetta:n=1").name == "rosetta:n=1"


@pytest.mark.parametrize("spec", ["nli:n=2,seed=3", "nli,n=2,seed=3", "nli:,n=2,seed=3"])
def test_a_file_that_a_suite_can_do_without_may_be_left_out(spec: str) -> None:
    parameters = load_suite(spec).parameters

    assert (parameters["path"], parameters["n"], parameters["seed"]) == ("built in", 2, 3)


def test_a_file_name_may_hold_commas_and_equals_signs(file: Path) -> None:
    suite = load_suite(f"jsonl:{file},ability=sum,source=en", limit=1)

    assert suite.source_language == "en"
    assert suite.parameters["file"] == str(file)


def test_an_option_may_hold_commas_as_long_as_no_option_follows_one(tmp_path: Path) -> None:
    folder = tmp_path / "mine, all of them"
    folder.mkdir()
    (folder / "en.txt").write_text("One.\nTwo.\nThree.\n")

    suite = load_suite(f"icl-vs-if:sentences={folder},n=1")

    assert suite.parameters["sentences"] == str(folder)


@pytest.mark.slow
@given(st.text())
def test_every_spec_is_parsed_or_refused_in_words(text: str) -> None:
    for spec in (text, f"rosetta{text}", f"jsonl:{text}"):
        with suppress(UserError):
            assert parse_suite_spec(spec).name in SUITES


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("icl-vs-fi", "No suite named 'icl-vs-fi'. Did you mean 'icl-vs-if'?\nList them with:"),
        ("", "No suite named ''."),
        ("sums.jsonl", "write: jsonl:sums.jsonl"),
        ("rosetta:seeds=1", "no option 'seeds'. Did you mean 'seed'?\nIts options: n=NUMBER [100]"),
        ("rosetta:n=ten", "cannot use n=ten: input should be a valid integer"),
        ("rosetta:n=2.5", "cannot use n=2.5"),
        ("rosetta:n=", "cannot use n=:"),
        ("rosetta:split=all", "split=train|select|report [report]"),
        ("rosetta:n=1,n=2", "gives 'n' twice"),
        ("rosetta:report", "does not take 'report'.\nIts options:"),
        ("rosetta:n=0", "cannot use n=0"),
        ("icl-vs-if:n=0", "cannot use n=0: input should be greater than 0"),
        ("icl-vs-if:seed=-1", "cannot use seed=-1"),
        ("icl-vs-if:lang=fr", "languages=A+B, sentences=PATH, max_new_tokens=NUMBER [10]"),
        ("jsonl", "does not say which file to read.\nWrite jsonl:FILE. Its options: ability=TEXT"),
        ("jsonl:", "does not say which file to read"),
        ("jsonl: ", "does not say which file to read"),
        ("jsonl,ability=x", "does not say which file to read"),
        ("nli:a.tsv,split=dev", "split=train|validation|test"),
        ("nli:seeds=1", "no option 'seeds'. Did you mean 'seed'?"),
        ("nli:gone", "No file or folder 'gone'."),
        ("nli:gone=1/a,b.tsv", "no option 'gone'"),
        ("nli:./gone=1/a,b.tsv", "No file or folder 'gone=1/a,b.tsv'."),
    ],
)
def test_a_mistake_is_answered_with_what_was_expected(spec: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        load_suite(spec)

    assert words in str(caught.value)


def test_a_limit_keeps_the_first_source_examples_of_each_cell_with_their_versions(
    file: Path,
) -> None:
    suite = load_suite(f"jsonl:{file}", limit=2)

    kept = [(e.source_id, e.language) for e in suite.examples]
    assert kept == [("1", "en"), ("1", "fr"), ("2", "en"), ("3", "fr"), ("3", "en")]
    assert suite.parameters["limit"] == 2


def test_a_limit_applies_to_every_suite_alike() -> None:
    whole, limited = load_suite("rosetta:n=4"), load_suite("rosetta:n=4", limit=3)

    counts = Counter((example.cell, example.language) for example in limited.examples)
    assert set(counts) == {(cell, lang) for cell in whole.cells for lang in whole.languages}
    assert set(counts.values()) == {3}
    assert all(example in whole.examples for example in limited.examples)
    assert limited.fingerprint == load_suite("rosetta:n=3").fingerprint != whole.fingerprint
    assert limited.key == whole.key


def test_a_limit_above_the_number_of_examples_changes_none() -> None:
    assert load_suite("rosetta:n=1", limit=9).examples == load_suite("rosetta:n=1").examples


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_leaves_nothing_is_refused(limit: int) -> None:
    with pytest.raises(UserError, match="nothing would be asked"):
        load_suite("rosetta", limit=limit)


def test_every_suite_describes_itself_in_one_line_without_being_built() -> None:
    descriptions = dict(SUITES.describe())

    assert list(descriptions) == list(SUITES)
    for description in descriptions.values():
        assert description.endswith(".")
        assert len(description) < 100


def test_naming_suites_loads_nothing_heavy() -> None:
    code = (
        "import sys, palimpsest.lm.suites;"
        "print({'numpy', 'pydantic', 'torch', 'transformers'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


def test_white_space_before_a_file_name_does_not_matter(file: Path) -> None:
    assert load_suite(f"jsonl: {file}").parameters["file"] == str(file)
