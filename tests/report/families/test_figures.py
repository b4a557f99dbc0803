from __future__ import annotations

import numpy as np
import pytest
from tests.report.families.factory import fake_restoration, fake_trace

from palimpsest.report.families.front_figures import RESTORATION_FIGURES
from palimpsest.report.families.trace_figures import MOST_DRAWN, TRACE_FIGURES, drawn_curves
from palimpsest.report.figure import NARROW_INCHES, WIDE_INCHES, Drawing, figure_style


def front(**settings: object) -> Drawing:
    [drawing] = RESTORATION_FIGURES.drawings(fake_restoration(**settings))  # type: ignore[arg-type]
    return drawing


def labels(drawing: Drawing, width: float = WIDE_INCHES) -> list[str]:
    with figure_style():
        figure = drawing.figure(width)
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_front_tells_members_ends_the_chosen_one_and_ways_of_asking_apart() -> None:
    assert labels(front()) == [
        "base", "tuned", "member", "chosen member", "tuned, conjugated where needed",
        "tuned, conjugated always",
    ]  # fmt: skip
    assert "chosen member" not in labels(front(outcome="none"))
    assert "tuned, conjugated always" not in labels(front(text=True))


@pytest.mark.parametrize("width", [WIDE_INCHES, NARROW_INCHES])
def test_no_two_names_on_the_front_lie_over_each_other(width: float) -> None:
    with figure_style():
        figure = front().figure(width)
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 8
    for place, one in enumerate(boxes):
        for other in boxes[place + 1 :]:
            assert not one.overlaps(other)


def test_the_front_says_in_words_what_it_shows() -> None:
    said = front().alternative
    assert "0.6: 70.0 % [65.0, 75.0] kept, target −2.0 points [−5.0, +1.0]" in said
    assert "5 points" in front().caption


def test_a_member_in_a_folder_is_called_by_its_last_part() -> None:
    found = fake_restoration()
    names = {2: "healing:runs/mine/healings/seed-0", 3: "healing:runs/a/seed-1|interpolate:0.9"}
    points = [
        each.model_copy(update={"name": names.get(place, each.name)})
        for place, each in enumerate(found.points)
    ]
    [drawing] = RESTORATION_FIGURES.drawings(found.model_copy(update={"points": points}))
    said = drawing.alternative
    assert "healing seed-0: " in said
    assert "healing:runs/a/seed-1|interpolate:0.9: " in said


def test_a_trace_has_a_figure_of_its_target_only_if_it_has_one() -> None:
    names = [drawing.name for drawing in TRACE_FIGURES.drawings(fake_trace())]
    assert names == ["trace", "trace-target"]
    without = TRACE_FIGURES.drawings(fake_trace(with_target=False))
    assert [drawing.name for drawing in without] == ["trace"]


def test_of_many_conjugations_those_that_read_longest_are_drawn() -> None:
    found = fake_trace(n_conjugations=9)
    drawn = [curve.via for curve in drawn_curves(found)]
    assert drawn == [f"via{number}" for number in range(MOST_DRAWN)]
    drawing = TRACE_FIGURES.drawings(found)[0]
    assert labels(drawing) == ["plain", *drawn]
    assert "Not drawn: 4" in drawing.caption


@pytest.mark.slow
def test_the_marks_and_windows_of_a_trace_are_drawn_where_they_are() -> None:
    with figure_style():
        axes = TRACE_FIGURES.drawings(fake_trace())[0].figure(WIDE_INCHES).axes[0]
    lines = [np.asarray(line.get_xydata(), dtype=float) for line in axes.get_lines()]
    upright = {line[0, 0] for line in lines if len(set(line[:, 0])) == 1}
    assert {100, 200} <= upright
    feet = [line[:, 0].tolist() for line in lines if line[:, 1].max() < 0]
    assert feet == [[200, 400], [200, 300]]


@pytest.mark.slow
@pytest.mark.parametrize("text", [False, True])
def test_every_figure_is_drawn_wide_and_narrow_the_same_every_time(text: bool) -> None:
    drawings = [
        *RESTORATION_FIGURES.drawings(fake_restoration(text=text)),
        *TRACE_FIGURES.drawings(fake_trace(text=text)),
        *TRACE_FIGURES.drawings(fake_trace(forgets=False)),
    ]
    for drawing in drawings:
        for width in (WIDE_INCHES, NARROW_INCHES):
            assert drawing.svg(width) == drawing.svg(width)
