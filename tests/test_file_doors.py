"""Every place where a file of another's comes in, against files that are made to do harm."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import struct
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest import files
from palimpsest.errors import UserError
from palimpsest.files import read_text, read_toml
from palimpsest.integrations.logs import bounds, read_run
from palimpsest.integrations.logs.bounds import Nesting, check_zip
from palimpsest.judging import conclude
from palimpsest.lm.models import PriceTable, load_model
from palimpsest.lm.suites import jsonl, tables
from palimpsest.lm.text_cache import TextCache
from palimpsest.records import AnswerStore, RunFolder, read_measurements

DEEP = b"[" * 200_000
MOST_MIB = 100
"""What a refusal may take."""

MOST_LINE_BYTES = 2**20

Door = Callable[[Path], object]


def results_of(path: Path) -> object:
    folder = RunFolder.create(path.with_name(f"{path.name}-run"))
    folder.results.symlink_to(path)
    return conclude.read_results(folder)


def marker_of(path: Path) -> object:
    folder = path.with_name(f"{path.name}-folder")
    folder.mkdir()
    (folder / "run.json").symlink_to(path)
    return RunFolder.find(folder)


def answers(path: Path) -> object:
    with AnswerStore(path, read_only=True) as store:
        return store.run_rows()


def translations(path: Path) -> object:
    cache = TextCache(path)
    assert cache.get([b"key"]) == {}
    raise UserError(cache.notes()[0])


DOORS: dict[str, tuple[str, Door]] = {
    "samples": ("samples_qa.jsonl", read_run),
    "a table, CSV": ("table.csv", read_run),
    "a table, TSV": ("table.tsv", read_run),
    "a table, JSON lines": ("table.jsonl", read_run),
    "a log of Inspect": ("log.eval", read_run),
    "a log of Inspect, JSON": ("log.json", read_run),
    "a suite": ("suite.jsonl", lambda path: jsonl.build(path)),
    "rows, TSV": ("rows.tsv", lambda path: tables.read_table(path, ["a"])),
    "rows, JSON lines": ("rows.jsonl", lambda path: tables.read_table(path, ["a"])),
    "rows, Parquet": ("rows.parquet", lambda path: tables.read_table(path, ["a"])),
    "rows, Arrow": ("rows.arrow", lambda path: tables.read_table(path, ["a"])),
    "a configuration": ("config.toml", read_toml),
    "prices": ("prices.toml", PriceTable.read),
    "prompts": ("prompts.txt", lambda path: read_text(path, most_bytes=2**20)),
    "a scripted model": ("model.json", lambda path: load_model(f"scripted:{path}")),
    "results": ("results.json", results_of),
    "a run's marker": ("run.json", marker_of),
    "measurements": ("forgetting.jsonl", read_measurements),
    "answers": ("answers.sqlite", answers),
    "kept translations": ("translations.sqlite", translations),
}


def write_sparse(path: Path, n_bytes: int) -> None:
    with path.open("wb") as file:
        file.truncate(n_bytes)


def zstd(content: bytes) -> bytes:
    return bytes(pytest.importorskip("zstandard").ZstdCompressor().compress(content))


BOMBS: dict[str, Callable[[Path], object]] = {
    "a pipe that nobody writes to": os.mkfifo,
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: (path / "more").mkdir(parents=True),
    "a line without end": lambda path: write_sparse(path, MOST_LINE_BYTES + 2),
    "a file without end": lambda path: write_sparse(path, 2**40),
    "gzip": lambda path: path.write_bytes(gzip.compress(b" " * 2**20)),
    "zstd": lambda path: path.write_bytes(zstd(b" " * 2**20)),
    "deep JSON": lambda path: path.write_bytes(DEEP),
    "deep JSON in a line": lambda path: path.write_bytes(b'{"a": ' + DEEP),
    "deep TOML": lambda path: path.write_bytes(b"a = " + DEEP),
}


MAY_BE_TEXT = ("a line", "deep")
"""Bombs that are no fault where any text may stand; they must do no harm."""


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize(
    "door", [pytest.param(d, marks=pytest.mark.slow) if "Inspect" in d else d for d in DOORS]
)
def test_a_file_made_to_do_harm_does_none_at_any_door(
    door: str, bomb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_LINE_BYTES", MOST_LINE_BYTES)
    name, read = DOORS[door]
    if "Inspect" in door:
        pytest.importorskip("inspect_ai")
    if name.endswith((".parquet", ".arrow")):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    BOMBS[bomb](path)
    before, started = peak_mib(), time.monotonic()
    with suppress(UserError) if bomb.startswith(MAY_BE_TEXT) else pytest.raises(UserError):
        read(path)
    assert time.monotonic() - started < 20
    assert peak_mib() - before < MOST_MIB


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_links_to_files_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,score\n1,1\n")
    (tmp_path / "b.csv").symlink_to(tmp_path / "a.csv")
    assert read_run(tmp_path / "b.csv").tasks[0].items["1"].score == 1


def zipped(path: Path, *, method: int, n_mib: int) -> None:
    """Write a log whose header unpacks to spaces, and whose directory says that it is short."""
    pytest.importorskip("zipfile_zstd")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("header.json", b" " * (n_mib * 2**20))
    content = bytearray(out.getvalue())
    directory = content.rindex(b"PK\1\2")
    for at in (22, directory + 24):
        content[at : at + 4] = struct.pack("<I", 9)
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, 93, zipfile.ZIP_STORED])
def test_a_zip_file_is_not_unpacked_beyond_a_bound_whatever_its_directory_says(
    tmp_path: Path, method: int
) -> None:
    path = tmp_path / "log.eval"
    zipped(path, method=method, n_mib=5)
    check_zip(path, lambda name: name != "header.json", most_bytes=2**20)
    check_zip(path, lambda name: True, most_bytes=5 * 2**20)
    with pytest.raises(UserError, match=r"'header\.json' unpacks to more than is read, 4 MiB"):
        check_zip(path, lambda name: True, most_bytes=4 * 2**20)


@pytest.mark.slow
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, 93])
def test_a_log_of_inspect_is_not_unpacked_beyond_a_bound(tmp_path: Path, method: int) -> None:
    pytest.importorskip("inspect_ai")
    zipped(tmp_path / "log.eval", method=method, n_mib=200)
    before = peak_mib()
    with pytest.raises(UserError, match=r"'header\.json' unpacks to more than is read, 64 MiB"):
        read_run(tmp_path / "log.eval")
    assert peak_mib() - before < 64


def test_a_zip_file_has_no_more_entries_than_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(11):
            archive.writestr(f"samples/{i}.json", json.dumps({"id": i}))
    check_zip(path, lambda name: True, most_bytes=100)
    monkeypatch.setattr(bounds, "MOST_ENTRIES", 10)
    with pytest.raises(UserError, match="holds more than 10 files"):
        check_zip(path, lambda name: True, most_bytes=100)
    monkeypatch.setattr(bounds, "_MOST_DIRECTORY_BYTES", 1)
    with pytest.raises(UserError, match="holds more than 10 files"):
        check_zip(path, lambda name: True, most_bytes=100)


def test_all_files_of_a_zip_file_together_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(4):
            archive.writestr(f"samples/{i}.json", b" " * 2**20)
    monkeypatch.setattr(bounds, "MOST_UNPACKED_BYTES", 3 * 2**20)
    with pytest.raises(UserError, match=r"'samples/3\.json' unpacks to more than is read, 3 MiB"):
        check_zip(path, lambda name: True, most_bytes=2**21)


@pytest.mark.slow
def test_a_kept_translation_of_any_length_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "translations.sqlite"
    cache = TextCache(path)
    cache.put({b"short": "a"})
    connection = cache._connection
    assert connection is not None
    connection.setlimit(0, 10**9)  # SQLITE_LIMIT_LENGTH
    cache.put({b"long": "a" * 2**25})
    cache.close()
    again = TextCache(path)
    assert again.get([b"short"]) == {b"short": "a"}
    assert again.get([b"long"]) == {}
    assert "cannot be used" in again.notes()[0]
    again.close()


@given(
    st.recursive(st.none() | st.text('[]{}"\\a'), lambda inner: st.lists(inner, max_size=3)),
    st.integers(1, 5),
)
def test_nesting_is_counted_outside_of_texts_whatever_the_pieces(value: object, size: int) -> None:
    written = json.dumps({"a": value}).encode()
    nesting = Nesting("it")
    for start in range(0, len(written), size):
        nesting.feed(written[start : start + size])
    assert (nesting._open, nesting._in_text) == (b"", False)


@pytest.mark.parametrize("deep", [b"[" * 201, b'{"a":' * 201, b"[" * 201 + b"]" * 201, b"]" * 201])
def test_deep_nesting_is_refused_in_one_piece_and_in_many(deep: bytes) -> None:
    for size in (1, 10, 1000):
        nesting = Nesting("it")
        with pytest.raises(UserError, match="more than 100 lists and objects"):  # noqa: PT012
            for start in range(0, len(deep), size):
                nesting.feed(deep[start : start + size])
    Nesting("it").feed(b"[" * 100 + b"]" * 100)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_one_long_text_named_by_every_row_counts_as_often(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(tables, "MOST_BYTES", 2**22)
    numbers = pa.array([0] * 5000, pa.int32())
    table = pa.table({"a": pa.DictionaryArray.from_arrays(numbers, ["long " * 2**12])})
    path = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    assert path.stat().st_size < 2**18
    with pytest.raises(UserError, match="at most 4 MiB are read"):
        tables.read_table(path, ["a"])
    monkeypatch.setattr(tables, "MOST_BYTES", 2**28)
    assert len(tables.read_table(path, ["a"]).rows) == 5000
