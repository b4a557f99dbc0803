"""Tables are read whole or refused, with file and line, and never larger than the bounds."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.lm.suites.nli_rows import (
    EN,
    Rows,
    write_jsonl,
    write_parquet,
    write_saved,
    write_tsv,
)

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.lm.suites import tables
from palimpsest.lm.suites.tables import read_table

COLUMNS = ("premise", "label")
WRITERS: dict[str, Callable[[Path, Rows], Path]] = {
    "rows.tsv": write_tsv,
    "rows.jsonl": write_jsonl,
    "rows.parquet": write_parquet,
    "rows": write_saved,
}


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_table(path, COLUMNS)
    return str(caught.value)


@pytest.fixture(params=WRITERS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return WRITERS[request.param](tmp_path / request.param, EN)


def test_the_columns_asked_for_are_read_and_all_are_named(path: Path) -> None:
    table = read_table(path, [*COLUMNS, "other"])

    assert table.name == str(path)
    assert table.columns == ("premise", "hypothesis", "label")
    assert [record.fields["premise"] for record in table.rows] == [r["premise"] for r in EN]
    assert [str(record.fields["label"]) for record in table.rows] == ["0", "1", "2", "0"]
    assert {tuple(record.fields) for record in table.rows} == {COLUMNS}


def test_rows_are_placed_by_line_or_by_number(path: Path) -> None:
    places = [record.place for record in read_table(path, COLUMNS).rows]

    file = path / "data-00000-of-00001.arrow" if path.is_dir() else path
    word, first = ("row", 1) if path.suffix in {"", ".parquet"} else ("line", 1)
    first += path.suffix == ".tsv"  # behind the names of the columns
    assert places == [f"{file}, {word} {first + i}" for i in range(4)]


def test_the_hash_is_that_of_the_files(path: Path) -> None:
    file = path / "data-00000-of-00001.arrow" if path.is_dir() else path

    assert read_table(path, COLUMNS).sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_too_many_bytes_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_BYTES", 100)

    assert "MiB are read.\nChoose a smaller split" in refusal(path)


def test_a_file_that_is_far_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "en.tsv"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)  # sparse: it takes no place on the disk

    assert refusal(path).startswith(f"{path} has 10,240 MiB; at most 512 MiB are read.")


def test_too_many_rows_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_ROWS", 3)

    assert "rows; at most 3 are read.\nChoose a smaller split" in refusal(path)

    monkeypatch.setattr(tables, "MOST_ROWS", 4)
    assert len(read_table(path, COLUMNS).rows) == 4


def test_what_compression_hides_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.parquet"
    table = pa.table({"premise": ["a" * 100_000], "label": [0]})
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(tables, "MOST_BYTES", 50_000)

    assert refusal(path).startswith(f"{path} has 0 MiB; at most 0 MiB are read.")


@pytest.mark.parametrize("name", ["rows.parquet", "rows", "rows.arrow"])
def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    if name == "rows":
        write_saved(path, EN)
    else:
        path.touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(MissingExtraError) as caught:
        read_table(path, COLUMNS)
    assert str(caught.value) == (
        "Parquet files and datasets saved to disk need the package 'pyarrow', which is not "
        "installed.\nInstall it with: pip install 'pyarrow>=20'"
    )


def test_text_needs_no_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    assert len(read_table(write_tsv(tmp_path / "en.tsv", EN), COLUMNS).rows) == 4
    assert len(read_table(write_jsonl(tmp_path / "en.jsonl", EN), COLUMNS).rows) == 4


@pytest.mark.parametrize("name", ["en.tsv", "en.jsonl", "en.parquet", "en.arrow"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_file_that_the_system_does_not_give_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, exists: bool
) -> None:
    # Changed permissions would not stop root, who may run the tests.
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    if exists:
        monkeypatch.setattr(Path, "stat", refuse)
        monkeypatch.setattr(Path, "is_dir", lambda _: False)

    reason = "Permission denied" if exists else "No such file or directory"
    assert refusal(tmp_path / name).startswith(f"{tmp_path / name} cannot be read: {reason}.")


def test_how_an_editor_saves_a_text_table_does_not_matter(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "en.tsv", EN)
    expected = read_table(path, COLUMNS).rows
    windows = b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n \n"
    path.write_bytes(windows)

    assert read_table(path, COLUMNS).rows == expected


def test_quotation_marks_of_a_tsv_file_mean_themselves(tmp_path: Path) -> None:
    path = tmp_path / "en.tsv"
    path.write_text('premise\tlabel\n"Yes," he said.\t0\n"\t1\n')

    assert [r.fields["premise"] for r in read_table(path, COLUMNS).rows] == [
        '"Yes," he said.',
        '"',
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"premise\tlabel\nIt snows.\n", "line 2: 1 fields, but the first line names 2."),
        (b"premise\tlabel\na\tb\tc\n", "line 2: 3 fields, but the first line names 2."),
        (b"premise\tlabel\n\na\t0\n", "line 2: empty, but the first line names 2."),
        (b"label\tlabel\n0\t1\n", "line 1: a column comes twice: label, label."),
        ("premise\tlabel\nÉté\t0\n".encode("latin-1"), "line 2: not UTF-8 (byte 0xc9)."),
        ("premise\tlabel\n".encode("utf-16"), "line 1: not UTF-8 (byte 0xff)."),
    ],
)
def test_a_malformed_line_of_a_tsv_file_is_named(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "en.tsv"
    path.write_bytes(content)

    assert refusal(path).startswith(f"{path}, {words}")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"premise\tlabel", "not JSON: Expecting value (column 1)."),
        (b"[1]", "not an object in braces."),
        (b'{"label": "\xe9"}', "not UTF-8 (byte 0xe9)."),
        (b'{"label": 0, "label": 1}', "the field 'label' comes twice."),
        (b"", "not JSON: Expecting value (column 1)."),
    ],
)
def test_a_malformed_line_of_json_is_named(tmp_path: Path, line: bytes, words: str) -> None:
    path = tmp_path / "en.jsonl"
    path.write_bytes(b'{"label": 0}\n' + line + b'\n{"label": 0}\n')

    assert refusal(path).startswith(f"{path}, line 2: {words}")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\x00" * 1000, b"premise\tlabel\n"])
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"en{suffix}"
    path.write_bytes(content)

    assert refusal(path).startswith(f"{path} cannot be read as {suffix[1:].capitalize()}: ")


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    for path in (
        write_parquet(tmp_path / "en.parquet", EN),
        write_saved(tmp_path / "en", EN) / "data-00000-of-00001.arrow",
    ):
        path.write_bytes(path.read_bytes()[:-200])
        assert f"{path} cannot be read as" in refusal(path)


def test_text_in_parquet_that_is_not_utf8_is_named_by_its_row(tmp_path: Path) -> None:
    path = tmp_path / "en.parquet"
    text = pa.array([b"good", "été".encode("latin-1")]).view(pa.string())
    pq.write_table(pa.table({"premise": text}), path)

    assert refusal(path).startswith(f"{path}, row 2: not UTF-8.")


def test_a_saved_dataset_may_have_several_files(tmp_path: Path) -> None:
    one = read_table(write_saved(tmp_path / "one", EN), COLUMNS)
    three = read_table(write_saved(tmp_path / "three", EN, n_files=2), COLUMNS)

    assert [r.fields for r in three.rows] == [r.fields for r in one.rows]
    assert three.rows[2].place == f"{tmp_path}/three/data-00001-of-00002.arrow, row 1"


def test_a_missing_file_of_a_saved_dataset_is_named(tmp_path: Path) -> None:
    folder = write_saved(tmp_path / "rows", EN)
    (folder / "data-00000-of-00001.arrow").unlink()

    assert "data-00000-of-00001.arrow cannot be read: No such file" in refusal(folder)


@pytest.mark.parametrize("name", ["../secret.arrow", "/etc/passwd", "a/b.arrow", "..", ""])
def test_a_saved_dataset_reads_nothing_outside_its_folder(tmp_path: Path, name: str) -> None:
    folder = write_saved(tmp_path / "rows", EN, _data_files=[{"filename": name}])

    assert f"names a file that is not in its folder: {name!r}." in refusal(folder)


def test_a_saved_dataset_with_an_index_of_its_rows_is_refused(tmp_path: Path) -> None:
    # Read without it, the rows would be others.
    folder = write_saved(tmp_path / "rows", EN, _indices_data_files=[{"filename": "indices.arrow"}])

    assert "was saved with an index of its rows" in refusal(folder)


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"_data_files": [5]}', "[" * 100_000])
def test_a_damaged_state_of_a_saved_dataset_is_refused(tmp_path: Path, content: str) -> None:
    folder = write_saved(tmp_path / "rows", EN)
    (folder / "state.json").write_text(content)

    assert "state.json is not what 'datasets' writes" in refusal(folder)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    for suffix in tables.SUFFIXES:
        path = tmp_path_factory.getbasetemp() / f"any{suffix}"
        path.write_bytes(content)
        try:
            said = read_table(path, COLUMNS).name
        except UserError as error:
            said = error.message
        assert str(path) in said
