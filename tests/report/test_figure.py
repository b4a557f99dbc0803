"""Laws of every registered figure, and of what becomes of one."""

from __future__ import annotations

import re
from functools import cache
from xml.etree import ElementTree

import pytest
from tests.report.diagnosis.factory import (
    fake_results,
    from_logs,
    with_inference,
    with_pooled,
)
from tests.report.lab.factory import fake_lab_results

from palimpsest.records import History, HistoryFigures, HistoryRun, Verdict
from palimpsest.report.diagnosis import figures as of_diagnoses
from palimpsest.report.figure import (
    NARROW_INCHES,
    PALETTE,
    WIDE_INCHES,
    Drawing,
    FigureRegistry,
    Sheet,
    inline_svg,
)
from palimpsest.report.history_page import HISTORY_FIGURES
from palimpsest.report.lab import figures as of_laboratory_runs


def figures_of(fall: float) -> HistoryFigures:
    verdict: Verdict = "kept" if fall < 0.1 else "suppressed" if fall < 0.3 else "lost"
    ends = (fall - 0.06, fall + 0.06)
    return HistoryFigures(
        verdict=verdict, n=400, base=0.98, tuned=0.98 - fall, fall=fall, fall_ci95=ends
    )


SVG = "{http://www.w3.org/2000/svg}"
RUNS = [
    HistoryRun(
        folder=f"runs/{at}",
        created="2026-11-20T18:54:00Z",
        tuned="./tuned",
        overall=figures_of(0.05 * at),
        cells={name: figures_of(0.04 * at + 0.1 * place) for place, name in enumerate("abc")},
    )
    for at in range(8)
]
BY_PAGE = {
    "diagnosis": of_diagnoses.FIGURES.drawings(fake_results()),
    "inference": of_diagnoses.FIGURES.drawings(with_inference(fake_results())),
    "pooled": of_diagnoses.FIGURES.drawings(with_pooled(fake_results())),
    "logs": of_diagnoses.FIGURES.drawings(from_logs(fake_results(), "binary")),
    "history": HISTORY_FIGURES.drawings(History(suite="rosetta", runs=RUNS, changes=[])),
    "lab": of_laboratory_runs.FIGURES.drawings(fake_lab_results()),
}
_FEW = {"logs": "forgetting", "inference": "inference", "pooled": "pooled"}
"""Of these pages the figures that others have not."""

EVERY = pytest.mark.parametrize(
    "drawing",
    [
        pytest.param(drawing, id=f"{page}-{drawing.name}")
        for page, drawings in BY_PAGE.items()
        for drawing in drawings
        if page not in _FEW or drawing.name.startswith(_FEW[page])
    ],
)


@pytest.fixture(scope="module")
def accuracy() -> Drawing:
    return BY_PAGE["diagnosis"][0]


@cache
def inline(drawing: Drawing, width: float = WIDE_INCHES) -> ElementTree.Element:
    svg = drawing.svg(width)
    return ElementTree.fromstring(inline_svg(svg, prefix="p-", label=drawing.alternative))


def texts(drawing: Drawing) -> list[str]:
    return [element.text or "" for element in inline(drawing).iter(f"{SVG}text")]


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize(
    "width", [WIDE_INCHES, pytest.param(NARROW_INCHES, marks=pytest.mark.slow)]
)
def test_inline_every_colour_follows_the_page_and_nothing_breaks_its_policy(
    drawing: Drawing, width: float
) -> None:
    root = inline(drawing, width)
    assert root.get("aria-label") == drawing.alternative
    assert root.get("role") == "img"
    assert not {f"{SVG}style", f"{SVG}script", f"{SVG}metadata"} & {e.tag for e in root.iter()}
    for element in root.iter():
        assert "style" not in element.attrib
        for kind in ("fill", "stroke"):
            value = element.get(kind, "none")
            if value in PALETTE:
                assert f"{kind}-{PALETTE[value]}" in element.get("class", "")
            else:
                assert value == "none" or value.startswith("url(#p-")


@pytest.mark.slow
@EVERY
def test_the_title_stands_in_the_figure_and_an_axis_says_what_it_measures(drawing: Drawing) -> None:
    found = texts(drawing)
    assert drawing.title in found
    words = ["accuracy", "recovery", "share", "forgetting", "error", "steps", "loss", "exemplars"]
    words += ["probability", "fall"]
    assert any(word in text for text in found if text != drawing.title for word in words)


@pytest.mark.slow
def test_every_figure_of_a_diagnosis_names_its_rows() -> None:
    for drawing in BY_PAGE["diagnosis"]:
        assert "fr" in texts(drawing)


def test_names_of_figures_are_unique_on_a_page_and_fit_files_and_identifiers() -> None:
    for drawings in BY_PAGE.values():
        names = [drawing.name for drawing in drawings]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[a-z][a-z0-9-]*", name) for name in names)


def test_a_registered_figure_comes_after_the_others_and_only_where_it_applies() -> None:
    figures: FigureRegistry[int] = FigureRegistry()

    @figures.register
    def half(number: int) -> Drawing | None:
        return None if number % 2 else Drawing("half", f"{number // 2}", "", "", lambda sheet: None)

    @figures.register
    def whole(number: int) -> Drawing:
        return Drawing("whole", f"{number}", "", "", lambda sheet: None)

    assert [drawing.title for drawing in figures.drawings(6)] == ["3", "6"]
    assert [drawing.name for drawing in figures.drawings(7)] == ["whole"]
    assert whole is figures.functions[-1]


@pytest.mark.slow
def test_the_same_figure_gives_the_same_bytes(accuracy: Drawing) -> None:
    files = accuracy.files()
    assert files == accuracy.files()
    assert files["svg"] == accuracy.svg()
    assert b"<dc:date>" not in files["svg"]
    assert files["png"].startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_users_matplotlib_settings_do_not_matter(accuracy: Drawing) -> None:
    import matplotlib as mpl

    ours = accuracy.svg()
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert accuracy.svg() == ours
        assert mpl.rcParams["font.size"] == 30


def test_references_of_inline_svg_stay_inside_it(accuracy: Drawing) -> None:
    text = inline_svg(accuracy.svg(), prefix="p-", label="")
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert all(name.startswith("p-") for name in ids)
    targets = re.findall(r'href="#([^"]*)"', text) + re.findall(r"url\(#([^)]*)\)", text)
    assert targets
    assert set(targets) <= set(ids)


def test_a_long_title_is_wrapped_to_the_width() -> None:
    figure = Sheet("many words " * 12, NARROW_INCHES).start(1.0)
    assert figure.texts[0].get_text().count("\n") >= 2
