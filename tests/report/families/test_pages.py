from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from tests.report.diagnosis.hostile import SCRIPT
from tests.report.families.factory import fake_restoration, fake_trace

from palimpsest.cli.main import run
from palimpsest.records import RunFolder
from palimpsest.report.families.front_page import render_restoration
from palimpsest.report.families.front_tables import FrontTable, csv_front, csv_front_cells
from palimpsest.report.families.trace_page import TraceTable, csv_trace, render_trace
from palimpsest.report.writing import write_restoration, write_trace

PAGES = {
    "restore": render_restoration(fake_restoration(), []),
    "restore, text": render_restoration(fake_restoration(text=True), []),
    "restore, none": render_restoration(fake_restoration(outcome="none", cure="none"), []),
    "trace": render_trace(fake_trace(), []),
    "trace, kept": render_trace(fake_trace(forgets=False, with_target=False), []),
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_page_asks_nothing_of_the_network_and_runs_nothing(page: str) -> None:
    addresses = set(re.findall(r"https?://[\w./]+", page))
    assert addresses <= {"https://arxiv.org/abs/2309.10105"}
    assert "script-src 'none'" in page
    assert "<script" not in page


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_link_within_a_page_leads_somewhere(page: str) -> None:
    for target in re.findall(r'<a (?:class="skip" )?href="#([\w-]+)"', page):
        assert f'id="{target}"' in page


def test_names_of_any_kind_are_shown_and_do_not_run() -> None:
    assert SCRIPT not in render_restoration(fake_restoration(name=SCRIPT), [])
    assert SCRIPT not in render_trace(fake_trace(suite_name=SCRIPT), [])


def test_the_page_of_a_restoration_has_the_cure_the_rule_and_the_four_figures() -> None:
    page = PAGES["restore"]
    for wanted in (
        "Prompting under a conjugation", "In the weights: good enough.", "The rule in a sentence.",
        "Margin: 5 points", "Healed, %", "Preserved, %", "Newly damaged, %", "Target kept",
        "palimpsest restore write interpolate:0.6 MY-MODEL",
    ):  # fmt: skip
        assert wanted in page
    assert "None is good enough" in PAGES["restore, none"]
    assert "restore write" not in PAGES["restore, none"]
    assert "Bits a byte" in PAGES["restore, text"]


def test_the_page_of_a_trace_has_its_marks_and_what_to_do_next() -> None:
    page = PAGES["trace"]
    for wanted in ("first clear fall", "last kept", "Longest window", "palimpsest restore ./base"):
        assert wanted in page
    assert "palimpsest restore" not in PAGES["trace, kept"]
    running = fake_trace().model_copy(update={"is_running": True})
    assert "still being watched" in render_trace(running, [])


def test_the_files_hold_a_row_for_each_point_cell_step_and_way_of_asking() -> None:
    found, trace = fake_restoration(), fake_trace()
    for text, n_rows in (
        (csv_front(found), len(found.points)),
        (csv_front_cells(found), sum(len(point.cells) for point in found.points)),
        (csv_trace(trace), 5 * 3),
    ):
        rows = list(csv.DictReader(io.StringIO(text)))
        assert len(rows) == n_rows
        assert len({tuple(row) for row in rows}) == 1
    rows = list(csv.DictReader(io.StringIO(csv_trace(trace))))
    assert rows[0]["fall"] == ""
    assert rows[1]["fall"] == "0.01"
    assert [row["recovery"] for row in rows if row["conjugation"] == "via0"][-1] == "0.7"


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_tables_fit_the_terminal_and_say_what_does_not(width: int) -> None:
    for table in (FrontTable(fake_restoration()), TraceTable(fake_trace())):
        console = Console(width=width, file=io.StringIO(), highlight=False, markup=False)
        console.print(table)
        assert isinstance(console.file, io.StringIO)
        lines = console.file.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert ("Not shown" in console.file.getvalue()) == (width < 160)


@pytest.mark.slow
def test_reports_are_written_whole_and_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    write_trace(folder.path, fake_trace())
    page = write_restoration(folder.path, fake_restoration())
    first = page.read_bytes()
    for name in ("front", "trace", "trace-target"):
        for ending in ("png", "svg"):
            assert (folder.path / "figures" / f"{name}.{ending}").stat().st_size
    folder.write_text("restore.json", fake_restoration().to_json())
    folder.write_text("trace.json", fake_trace().to_json())
    page.unlink()
    assert run(["report", str(folder.path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Report: {folder.path / 'trace.html'}",
        f"Report: {folder.path / 'restore.html'}",
    ]
    assert page.read_bytes() == first


@pytest.mark.slow
def test_a_record_of_another_schema_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_text("restore.json", '{"schema": "palimpsest.restore/0"}')
    assert run(["report", str(folder.path)]) == 2
    assert "does not follow the schema" in capsys.readouterr().err
