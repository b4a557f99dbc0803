from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from palimpsest.report.diagnosis.charts import new_figure
from palimpsest.report.diagnosis.plots import MAX_PANELS, drawings
from tests.report.factory import VIAS, fake_results, from_logs
from tests.report.hostile import NAMES

from palimpsest.records.results import Results
from palimpsest.report.figure import (
    NARROW_INCHES,
    PALETTE,
    Drawing,
    figure_files,
    inline_svg,
    svg_bytes,
)

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def results() -> Results:
    return fake_results()


@pytest.fixture(scope="module")
def accuracy(results: Results) -> Drawing:
    return drawings(results)[0]


@pytest.fixture(scope="module")
def svgs(results: Results) -> dict[str, bytes]:
    return {drawing.name: svg_bytes(drawing) for drawing in drawings(results)}


def texts(svg: str | bytes) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_the_figures_come_in_the_order_of_the_report(results: Results) -> None:
    assert [drawing.name for drawing in drawings(results)] == [
        "accuracy",
        "recovery",
        "outcomes",
        "cells",
    ]


def test_cells_get_small_multiples_only_if_there_are_few() -> None:
    many = fake_results(cells=[f"cell {place}" for place in range(MAX_PANELS + 1)])
    assert "cells" not in [drawing.name for drawing in drawings(many)]
    twelve = fake_results(cells=[f"cell {place}" for place in range(MAX_PANELS)], vias=VIAS[:1])
    assert texts(svg_bytes(drawings(twelve)[-1])).count("fr") == 3  # once a line of four panels


def test_a_diagnosis_without_conjugations_has_no_recovery_figure() -> None:
    names = [drawing.name for drawing in drawings(fake_results(vias=()))]
    assert "recovery" not in names
    assert "accuracy" in names


def test_every_figure_has_a_title_an_axis_label_and_its_rows(
    results: Results, svgs: dict[str, bytes]
) -> None:
    for drawing in drawings(results):
        found = texts(svgs[drawing.name])
        assert drawing.title in found
        assert "fr" in found
        assert any(word in text for text in found for word in ("accuracy", "recovery", "share"))


def test_an_undefined_recovery_is_said_in_the_figure_and_in_its_alternative() -> None:
    results = fake_results()
    unclear = [
        result.model_copy(update={"recovery": None, "recovery_ci95": None})
        for result in results.conjugations
    ]
    drawing = drawings(results.model_copy(update={"conjugations": unclear}))[1]
    assert texts(svg_bytes(drawing)).count("undefined: no clear forgetting") == len(VIAS)
    assert "fr: undefined" in drawing.alternative


def test_intervals_that_leave_the_axis_do_not_stretch_it() -> None:
    results = fake_results()
    wild = results.conjugations[0].model_copy(update={"recovery_ci95": (-40.0, 50.0)})
    drawing = drawings(results.model_copy(update={"conjugations": [wild]}))[1]
    low, high = drawing.draw(6.0).axes[0].get_xlim()
    assert (low, high) == (-1.0, 2.0)


def test_the_text_alternative_holds_the_numbers(accuracy: Drawing) -> None:
    assert "plain: base 98.5 % [96.8, 99.3], tuned 24.0 % [20.1, 28.4]" in accuracy.alternative


def test_the_same_figure_gives_the_same_bytes(accuracy: Drawing) -> None:
    assert figure_files(accuracy) == figure_files(accuracy)
    assert b"<dc:date>" not in figure_files(accuracy).svg


def test_the_users_matplotlib_settings_do_not_matter(accuracy: Drawing) -> None:
    import matplotlib as mpl

    ours = svg_bytes(accuracy)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert svg_bytes(accuracy) == ours
        assert mpl.rcParams["font.size"] == 30


@pytest.mark.parametrize("width", [8.4, NARROW_INCHES])
def test_names_of_any_kind_can_be_drawn(width: float) -> None:
    results = fake_results(vias=NAMES, cells=[via.name for via in NAMES[:2]])
    for drawing in drawings(results):
        found = " ".join(texts(svg_bytes(drawing, width=width)))
        assert "a&b<i>|\"'" in found
        assert "␀" in found


def test_inline_svg_has_nothing_that_a_strict_policy_forbids(svgs: dict[str, bytes]) -> None:
    for svg in svgs.values():
        root = ElementTree.fromstring(inline_svg(svg, prefix="p-", label="said"))
        assert not [element for element in root.iter() if "style" in element.attrib]
        assert not {f"{SVG}style", f"{SVG}script", f"{SVG}metadata"} & {e.tag for e in root.iter()}
        assert root.get("aria-label") == "said"
        assert root.get("role") == "img"


def test_references_of_inline_svg_stay_inside_it(svgs: dict[str, bytes]) -> None:
    text = inline_svg(svgs["accuracy"], prefix="p-", label="")
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert all(name.startswith("p-") for name in ids)
    targets = re.findall(r'href="#([^"]*)"', text) + re.findall(r"url\(#([^)]*)\)", text)
    assert targets
    assert set(targets) <= set(ids)


def test_every_colour_of_inline_svg_follows_the_page(svgs: dict[str, bytes]) -> None:
    known = {"none", *PALETTE}
    for svg in svgs.values():
        root = ElementTree.fromstring(inline_svg(svg, prefix="p-", label=""))
        for element in root.iter():
            for kind in ("fill", "stroke"):
                value = element.get(kind, "none")
                assert value in known
                if value != "none":
                    assert f"{kind}-{PALETTE[value]}" in element.get("class", "")


def test_a_long_title_is_wrapped_to_the_width() -> None:
    figure = new_figure("many words " * 12, NARROW_INCHES, 1.0)
    assert isinstance(figure, Figure)
    assert figure.texts[0].get_text().count("\n") >= 2


def test_logs_that_only_tell_right_from_wrong_get_a_figure_of_their_tasks() -> None:
    results = from_logs(fake_results(), "binary")
    names = [drawing.name for drawing in drawings(results)]
    assert names == ["accuracy", "recovery", "forgetting"]
    drawing = drawings(results)[-1]
    said = texts(svg_bytes(drawing))
    for cell in results.cells:
        assert cell.name in said
        assert cell.name in drawing.alternative
    one = results.model_copy(update={"cells": results.cells[:1]})
    assert [drawing.name for drawing in drawings(one)] == ["accuracy", "recovery"]
