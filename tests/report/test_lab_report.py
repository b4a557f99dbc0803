from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from palimpsest.report.lab.html import render_lab_page
from palimpsest.report.lab.plots import lab_drawings
from palimpsest.report.lab.sweep_charts import Line, Point, draw_sweep
from palimpsest.report.lab.writing import csv_text, lab_tables, write_lab_report
from tests.report.hostile import SCRIPT
from tests.report.lab_factory import fake_lab_results

from palimpsest.records.lab_results import LabResults
from palimpsest.records.run_folder import RunFolder
from palimpsest.report.figure import NARROW_INCHES, PALETTE, WIDE_INCHES, inline_svg, svg_bytes
from palimpsest.report.page import write_figure

NAMES = ["tuning", "by-exemplars", "inference", "split", "closeness", "recovery", "trade-off"]


def written(folder: Path, results: LabResults) -> str:
    RunFolder.create(folder)
    return write_lab_report(folder, results).read_text("utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("lab")
    return folder, written(folder, fake_lab_results())


def test_the_figures_come_in_the_order_of_the_report() -> None:
    assert [drawing.name for drawing in lab_drawings(fake_lab_results())] == NAMES


def test_without_remedies_there_is_no_trade_off() -> None:
    results = fake_lab_results(with_remedies=False)
    assert [drawing.name for drawing in lab_drawings(results)] == NAMES[:-1]


@pytest.mark.parametrize("width", [WIDE_INCHES, NARROW_INCHES])
def test_every_figure_can_be_drawn_and_its_colours_follow_the_page(
    width: float,
) -> None:
    for drawing in lab_drawings(fake_lab_results()):
        svg = inline_svg(svg_bytes(drawing, width=width), prefix="x-", label=drawing.alternative)
        for element in ElementTree.fromstring(svg).iter():
            for name in ("fill", "stroke"):
                color = element.get(name, "none")
                assert color in ("none", *PALETTE) or color.startswith("url("), drawing.name
            assert "style" not in element.attrib


def test_an_undefined_recovery_is_said_in_figure_and_table() -> None:
    results = fake_lab_results(forgets=False)
    recovery = next(one for one in lab_drawings(results) if one.name == "recovery")
    assert "undefined" in recovery.alternative
    assert b"undefined" in svg_bytes(recovery)
    assert "undefined" in render_lab_page(results, [])


def test_the_page_asks_nothing_of_the_network(page: tuple[Path, str]) -> None:
    _, text = page
    addresses = set(re.findall(r"https?://[\w./]+", text))
    assert addresses == {"https://arxiv.org/abs/2309.10105", "http://www.w3.org/2000/svg"}
    assert "script-src 'none'" in text
    assert "<script" not in text


def test_the_page_holds_findings_figures_tables_and_configuration(page: tuple[Path, str]) -> None:
    _, text = page
    for wanted in ("Tuning hid much.", "rotations:32", "problem.n_tasks", "0123456789abcdef"):
        assert wanted in text
    assert all(f'id="figure-{name}"' in text for name in NAMES)
    assert re.findall(r'href="#([\w-]+)"', text)[0] == "findings"
    for target in re.findall(r'<a href="#([\w-]+)"', text):
        assert f'id="{target}"' in text


def test_every_figure_and_table_is_a_file_beside_the_page(page: tuple[Path, str]) -> None:
    folder, _ = page
    for name in NAMES:
        assert (folder / "figures" / f"{name}.png").stat().st_size
        assert (folder / "figures" / f"{name}.svg").stat().st_size
    for name, rows in lab_tables(fake_lab_results()):
        with (folder / f"{name}.csv").open(encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == len(rows) > 0


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    results = fake_lab_results(with_remedies=False)
    figures = [write_figure(RunFolder(tmp_path), drawing) for drawing in lab_drawings(results)[:1]]
    again = [write_figure(RunFolder(tmp_path), drawing) for drawing in lab_drawings(results)[:1]]
    assert render_lab_page(results, figures) == render_lab_page(results, again)


def test_names_of_any_kind_are_shown_and_do_not_run() -> None:
    assert SCRIPT not in render_lab_page(fake_lab_results(name=SCRIPT), [])


def test_undefined_numbers_are_empty_in_the_tables() -> None:
    tables = dict(lab_tables(fake_lab_results(forgets=False)))
    [row, *_] = csv.DictReader(io.StringIO(csv_text(tables["conjugations"])))
    assert (row["recovery"], row["recovery_low"]) == ("", "")
    assert csv_text([]) == ""


def test_a_sweep_is_drawn_with_numbers_and_words_on_its_axis() -> None:
    points = [Point(x, 0.5, 0.4, 0.6, [0.45, 0.55]) for x in (1, True, "rotations", None)]
    for width in (WIDE_INCHES, NARROW_INCHES):
        figure = draw_sweep("Recovery", "key", [Line("a", points), Line("", [])], width)
        labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
        assert "rotations" in labels


def test_numbers_stand_in_order_on_the_axis_of_a_sweep() -> None:
    points = [Point(x, 0.5, 0.4, 0.6, [0.5]) for x in (12, 4, 0.5)]
    figure = draw_sweep("Recovery", "key", [Line("", points)], WIDE_INCHES)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0.5", "4", "12"]
