from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from tests.report.diagnosis.factory import (
    VIAS,
    fake_results,
    from_logs,
    with_inference,
    with_pooled,
)
from tests.report.diagnosis.hostile import NAMES

from palimpsest.records.results import Results
from palimpsest.report.diagnosis.figures import FIGURES, MAX_PANELS
from palimpsest.report.figure import NARROW_INCHES, WIDE_INCHES, Drawing

SVG = "{http://www.w3.org/2000/svg}"


def drawings(results: Results) -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in FIGURES.drawings(results)}


def texts(drawing: Drawing, width: float = WIDE_INCHES) -> list[str]:
    root = ElementTree.fromstring(drawing.svg(width))
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_the_figures_come_in_the_order_of_the_report() -> None:
    assert list(drawings(fake_results())) == ["accuracy", "recovery", "outcomes", "cells"]


def test_pooled_falls_stand_beside_the_raw_ones_where_there_are_any() -> None:
    assert "pooled" not in drawings(fake_results())
    results = with_pooled(fake_results())
    found = drawings(results)["pooled"]
    assert {"by itself", "pooled"} <= set(texts(found))
    assert "repeat/math: by itself 88.0 [78.0, 98.0], pooled 79.2 [74.2, 84.2]" in found.alternative


@pytest.mark.slow
def test_cells_get_small_multiples_only_if_there_are_few() -> None:
    many = fake_results(cells=[f"cell {place}" for place in range(MAX_PANELS + 1)])
    assert "cells" not in drawings(many)
    twelve = fake_results(cells=[f"cell {place}" for place in range(MAX_PANELS)], vias=VIAS[:1])
    assert texts(drawings(twelve)["cells"]).count("fr") == 3  # once a line of four panels


def test_a_diagnosis_without_conjugations_has_no_recovery_figure() -> None:
    names = drawings(fake_results(vias=()))
    assert "recovery" not in names
    assert "accuracy" in names


@pytest.mark.slow
def test_an_undefined_recovery_is_said_in_the_figure_and_in_its_alternative() -> None:
    results = fake_results()
    unclear = [
        result.model_copy(update={"recovery": None, "recovery_ci95": None})
        for result in results.conjugations
    ]
    drawing = drawings(results.model_copy(update={"conjugations": unclear}))["recovery"]
    assert texts(drawing).count("undefined: no clear forgetting") == len(VIAS)
    assert "fr: undefined" in drawing.alternative


def test_intervals_that_leave_the_axis_do_not_stretch_it() -> None:
    results = fake_results()
    wild = results.conjugations[0].model_copy(update={"recovery_ci95": (-40.0, 50.0)})
    drawing = drawings(results.model_copy(update={"conjugations": [wild]}))["recovery"]
    low, high = drawing.figure(6.0).axes[0].get_xlim()
    assert (low, high) == (-1.0, 2.0)


def test_the_text_alternative_holds_the_numbers() -> None:
    said = drawings(fake_results())["accuracy"].alternative
    assert "plain: base 98.5 % [96.8, 99.3], tuned 24.0 % [20.1, 28.4]" in said


def test_guessing_is_a_dashed_line_that_caption_and_alternative_name() -> None:
    results = fake_results(vias=())
    suite = results.suite.model_copy(update={"chance": 1 / 3})
    drawing = drawings(results.model_copy(update={"suite": suite}))["accuracy"]
    assert drawing.caption.endswith("Dashed line: guessing, 33.3 %.")
    assert drawing.alternative.endswith("Dashed line: guessing, 33.3 %.")
    lines = drawing.figure(WIDE_INCHES).axes[0].get_lines()
    assert any(np.array_equal(line.get_xdata(), [1 / 3, 1 / 3]) for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("width", [WIDE_INCHES, NARROW_INCHES])
def test_names_of_any_kind_can_be_drawn(width: float) -> None:
    results = fake_results(vias=NAMES, cells=[via.name for via in NAMES[:2]])
    for drawing in drawings(results).values():
        found = " ".join(texts(drawing, width))
        assert "a&b<i>|\"'" in found
        assert "␀" in found


@pytest.mark.slow
def test_logs_that_only_tell_right_from_wrong_get_a_figure_of_their_tasks() -> None:
    results = from_logs(fake_results(), "binary")
    assert list(drawings(results)) == ["accuracy", "recovery", "forgetting"]
    drawing = drawings(results)["forgetting"]
    said = texts(drawing)
    for cell in results.cells:
        assert cell.name in said
        assert cell.name in drawing.alternative
    one = results.model_copy(update={"cells": results.cells[:1]})
    assert list(drawings(one)) == ["accuracy", "recovery"]


def test_inference_is_shown_where_it_was_measured_with_its_numbers_in_words() -> None:
    found = drawings(with_inference(fake_results()))
    assert list(found)[-2:] == ["inference", "inference-cells"]
    assert "inference" not in drawings(fake_results())
    said = found["inference"].alternative
    assert "plain: base 90.0 % right [85.0, 95.0], 5.0 % intruding" in said
    assert "shift +4.10 [3.50, 4.80]; drift −0.25 [−0.30, −0.20]" in said
    assert said.count("drift") == 1
    assert any("shift +4.10" in text for text in texts(found["inference"]))
