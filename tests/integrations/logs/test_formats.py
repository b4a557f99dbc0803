from __future__ import annotations

from pathlib import Path

import pytest
from tests.integrations.logs.rows import generated, write_samples

from palimpsest.errors import UserError
from palimpsest.integrations.logs import read_run
from palimpsest.integrations.logs.formats import split_by_folder


def test_several_files_of_one_model_are_one_run(tmp_path: Path) -> None:
    write_samples(tmp_path, {"a": [generated(0, True)], "b": [generated(0, True)]})
    run = read_run(sorted(tmp_path.glob("*.jsonl")))
    assert [task.name for task in run.tasks] == ["a", "b"]


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    for name, right in (("one", True), ("same", True), ("other", False)):
        write_samples(tmp_path / name, {"a": [generated(0, right)]})
    one, same, other = (read_run(tmp_path / name).fingerprint for name in ("one", "same", "other"))
    assert one == same != other


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent.csv", "No file or folder"), ("log.txt", "is no log that is known here")],
)
def test_what_is_no_log_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "log.txt").write_text("hello")
    with pytest.raises(UserError, match=message) as error:
        read_run(tmp_path / name)
    assert "samples_*.jsonl" in (error.value.hint or "")


def test_a_folder_without_logs_and_logs_of_different_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no logs"):
        read_run(tmp_path / "empty")
    write_samples(tmp_path / "samples", {"a": [generated(0, True)]})
    (tmp_path / "table.csv").write_text("id,score\n1,1\n")
    with pytest.raises(UserError, match="are logs of different kinds"):
        read_run([tmp_path / "samples", tmp_path / "table.csv"])


def test_files_are_grouped_by_their_folder() -> None:
    paths = [Path(text) for text in ("a/1", "b/1", "a/2")]
    assert split_by_folder(paths) == [[Path("a/1"), Path("a/2")], [Path("b/1")]]
