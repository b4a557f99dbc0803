"""A run folder is recognised, never someone else's, and holds no half-written file."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from palimpsest import __version__
from palimpsest.errors import UserError
from palimpsest.records.run_folder import SCHEMA, RunFolder


def test_a_new_folder_is_made_with_its_parents_and_marked(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "runs" / "a")
    marker = json.loads((folder.path / "run.json").read_text())
    assert marker["schema"] == SCHEMA
    assert marker["version"] == __version__
    assert folder.config == {}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    RunFolder.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_our_own_folder_is_taken_again_and_the_newest_configuration_is_kept(
    tmp_path: Path,
) -> None:
    first = RunFolder.create(tmp_path)
    first.record({"suite": "icl-vs-if", "vias": ["leet"]})
    created = json.loads((tmp_path / "run.json").read_text())["created"]
    (tmp_path / "notes.txt").write_text("the user's own")
    again = RunFolder.create(str(tmp_path))
    assert again.config == {"suite": "icl-vs-if", "vias": ["leet"]}
    again.record({"suite": "icl-vs-if", "vias": ["leet", "fr"]})
    assert RunFolder.find(tmp_path).config["vias"] == ["leet", "fr"]
    assert json.loads((tmp_path / "run.json").read_text())["created"] == created


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("thesis.tex", "\\begin{document}"),
        ("run.json", "{}"),
        ("run.json", "[1]"),
        ("run.json", "null"),
        ("run.json", "not json"),
        ("run.json", '{"schema": "another.tool/1"}'),
        (".hidden", ""),
    ],
)
def test_a_folder_with_other_files_is_refused_and_left_alone(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match="not empty, and palimpsest did not make it") as caught:
        RunFolder.create(tmp_path)
    assert "--out" in str(caught.value.hint)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == content
    with pytest.raises(UserError, match="did not make it"):
        RunFolder.find(tmp_path)


def test_a_folder_of_a_newer_palimpsest_is_refused(tmp_path: Path) -> None:
    marker = {"schema": "palimpsest.run/2", "version": "9.0"}
    (tmp_path / "run.json").write_text(json.dumps(marker))
    with pytest.raises(UserError, match=r"palimpsest 9\.0") as caught:
        RunFolder.create(tmp_path)
    assert "Upgrade Palimpsest" in str(caught.value.hint)


def test_what_a_killed_first_run_left_does_not_make_the_folder_foreign(tmp_path: Path) -> None:
    (tmp_path / ".run.json.123.palimpsest-tmp").write_text('{"sche')
    folder = RunFolder.create(tmp_path)
    assert folder.config == {}
    folder.record({})
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(UserError, match="is a file; a folder is needed"):
        RunFolder.create(path)


@pytest.mark.parametrize(
    "place",
    ["/proc/palimpsest", "/dev/null/runs", "a\x00b", "~nobody-of-that-name/runs", "x" * 999],
)
def test_a_place_that_cannot_be_written_gets_a_message(place: str) -> None:
    with pytest.raises(UserError):
        RunFolder.create(place)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EIO])
def test_our_own_folder_is_probed_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    RunFolder.create(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UserError) as caught:
        RunFolder.create(tmp_path)
    assert ("full" if code == errno.ENOSPC else os.strerror(code)) in caught.value.message


def test_finding_needs_an_existing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        RunFolder.find(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.create(tmp_path)
    folder.write_text("results.json", "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"results\.json' is full"):
        folder.write_text("results.json", "new")
    assert folder.results.read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "results.json"}


def test_files_in_subfolders_and_the_named_places(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    assert folder.write_bytes("figures/a.png", b"\x89PNG") == tmp_path / "figures" / "a.png"
    assert folder.write_text("tables/a.csv", "a,b\r\n") == tmp_path / "tables" / "a.csv"
    assert (tmp_path / "tables" / "a.csv").read_bytes() == b"a,b\r\n"
    assert folder.answers == tmp_path / "answers.sqlite"


def test_json_keeps_accents_readable_and_lone_surrogates_exact(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    path = folder.write_json("a.json", {"text": "déjà \ud800"})
    assert b"d\xc3\xa9j\xc3\xa0 \\ud800" in path.read_bytes()
    assert json.loads(path.read_text("utf-8")) == {"text": "déjà \ud800"}


def test_a_missing_file_says_that_the_run_did_not_finish(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    with pytest.raises(UserError, match=r"no 'results\.json' in"):
        folder.read_text("results.json")
    folder.write_text("results.json", "{}")
    assert folder.read_text("results.json") == "{}"
