"""The figure of docs/adding/figure.md, from its page alone to the report."""

from __future__ import annotations

import types
from pathlib import Path

import pytest
from tests.doc_pages import ROOT, bodies
from tests.report.diagnosis.factory import CELLS, fake_results, fake_rows

from palimpsest.report.diagnosis.figures import FIGURES
from palimpsest.report.writing import write_report

PAGE = ROOT / "docs/adding/figure.md"


@pytest.mark.slow
def test_one_function_adds_a_figure_to_page_png_and_svg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FIGURES, "functions", [])  # the others take their time
    [code] = bodies(PAGE, "python")
    exec(compile(code, str(PAGE), "exec"), types.ModuleType("flips").__dict__)
    page = write_report(tmp_path, fake_results(), fake_rows(2)).read_text("utf-8")
    assert page.count('id="figure-flips"') == 1
    assert f"Changed answers. {CELLS[0]}: " in page
    assert "Answers that changed from base to tuned, both asked plainly" in page
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"flips.png", "flips.svg"}
    assert FIGURES.drawings(fake_results(cells=CELLS[:1])) == []
