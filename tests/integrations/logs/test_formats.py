from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from tests.doc_pages import ROOT, bodies
from tests.integrations.logs.rows import generated, write_samples

from palimpsest.errors import UserError
from palimpsest.integrations.logs import read_run
from palimpsest.integrations.logs.formats import LOG_FORMATS, LogFiles, split_by_folder


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


REPORT = """<testsuite name="qa" timestamp="2026-11-28">
  <testcase name="a"/><testcase name="b"><failure/></testcase>
</testsuite>"""


@pytest.fixture
def junit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the log format of the page on adding one: one class, one line."""
    code, _registration = bodies(ROOT / "docs" / "adding" / "log-format.md", "python")
    module = types.ModuleType("junit")
    monkeypatch.setitem(sys.modules, "junit", module)
    exec(compile(code, "docs/adding/log-format.md", "exec"), module.__dict__)
    monkeypatch.setitem(LOG_FORMATS._builtin, "junit", "junit:JUnitReports")


@pytest.mark.usefixtures("junit")
def test_the_log_format_of_the_page_on_adding_one_is_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "base.xml"
    path.write_text(REPORT)
    run = read_run(path)
    assert (run.kind, run.model, run.facts) == ("a test runner", str(path), {"date": "2026-11-28"})
    assert {key: item.score for key, item in run.tasks[0].items.items()} == {"a": 1.0, "b": 0.0}
    unknown = path.rename(tmp_path / "base.txt")
    with pytest.raises(UserError, match="is no log that is known here") as error:
        read_run(unknown)
    assert "Reports of test runners: .xml files as JUnit writes them" in (error.value.hint or "")


@pytest.mark.usefixtures("junit")
def test_what_a_format_does_not_check_itself_is_checked_for_it(tmp_path: Path) -> None:
    path = tmp_path / "base.xml"
    path.write_text(REPORT.replace('"b"', '"a"'))
    with pytest.raises(UserError, match="'a' of qa was answered before"):
        read_run(path)
    path.write_text("<testsuite/>")
    with pytest.raises(UserError, match="has no answers"):
        read_run(path)


def test_a_folder_with_logs_of_two_formats_is_refused(tmp_path: Path) -> None:
    class Anything:
        """Whatever lies in a folder."""

        writer = "anyone"

        def find(self, path: Path) -> LogFiles:
            return LogFiles(list(path.iterdir()))

    write_samples(tmp_path, {"a": [generated(0, True)]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOG_FORMATS._builtin, "any", "any:Anything")
        patch.setitem(sys.modules, "any", types.SimpleNamespace(Anything=Anything))
        with pytest.raises(UserError, match="has logs of different kinds"):
            read_run(tmp_path)
