from __future__ import annotations

from tests.report.lab.factory import estimate, fake_lab_results

from palimpsest.records.lab_results import LabResults, Remedied
from palimpsest.report.figure import NARROW_INCHES, WIDE_INCHES, Drawing
from palimpsest.report.lab.figures import FIGURES
from palimpsest.report.lab.sweep import sweep_drawing
from palimpsest.stats.means import Line, Point

NAMES = ["tuning", "by-exemplars", "inference", "split", "closeness", "recovery", "trade-off"]


def drawings(results: LabResults) -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in FIGURES.drawings(results)}


def test_the_figures_come_in_the_order_of_the_report() -> None:
    assert list(drawings(fake_lab_results())) == NAMES


def test_without_remedies_there_is_no_trade_off() -> None:
    assert list(drawings(fake_lab_results(with_remedies=False))) == NAMES[:-1]


def test_an_undefined_recovery_is_said_in_the_figure_and_in_its_alternative() -> None:
    results = fake_lab_results()
    assert any(one.recovery.value is None for one in results.conjugations)
    recovery = drawings(results)["recovery"]
    assert "undefined" in recovery.alternative
    assert b"undefined" in recovery.svg()


def test_no_figure_is_drawn_of_nothing() -> None:
    assert "recovery" not in drawings(fake_lab_results(forgets=False))
    results = fake_lab_results()
    nothing = {
        "by_exemplars": [one for one in results.by_exemplars if one.kind != "conjugated"],
        "inference": [
            one.model_copy(update={"values": [None] * len(one.values)}) for one in results.inference
        ],
        "closeness": [
            one.model_copy(update={"deciles": one.deciles[:1]}) for one in results.closeness
        ],
        "split": [],
        "remedies": [],
    }
    assert list(drawings(results.model_copy(update=nothing))) == ["tuning", "recovery"]


def test_a_remedy_that_the_figures_do_not_know_has_a_mark_and_its_name() -> None:
    results = fake_lab_results()
    new = Remedied(
        name="dropout 0.1",
        kind="dropout",
        strength=0.1,
        disc=estimate(0.3),
        cont=estimate(0.9),
        cont_ensemble=estimate(0.7),
    )
    more = results.model_copy(update={"remedies": [*results.remedies, new]})
    figure = drawings(more)["trade-off"].figure(WIDE_INCHES)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["fewer steps", "replay", "LoRA rank", "L2-SP", "interpolation", "dropout"]
    marks = [line.get_marker() for line in figure.axes[0].get_lines()]
    assert marks[-1] not in marks[:-1]


def sweep(*lines: Line) -> Drawing:
    return sweep_drawing("recovery-over-key", "what comes back", "key", lines)


def test_a_sweep_is_drawn_with_numbers_and_words_on_its_axis() -> None:
    points = [Point(x, 0.5, 0.4, 0.6, [0.45, 0.55]) for x in (1, True, "rotations", None)]
    for width in (WIDE_INCHES, NARROW_INCHES):
        figure = sweep(Line("a", points), Line("", [])).figure(width)
        assert figure.texts[0].get_text() == "What comes back, over key"
        labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
        assert "rotations" in labels


def test_numbers_stand_in_order_on_the_axis_of_a_sweep() -> None:
    points = [Point(x, 0.5, 0.4, 0.6, [0.5]) for x in (12, 4, 0.5)]
    drawing = sweep(Line("", points))
    labels = drawing.figure(WIDE_INCHES).axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == ["0.5", "4", "12"]
    assert "12: 0.500" in drawing.alternative
