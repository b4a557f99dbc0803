"""Every figure and table says how many examples it stands on, and what its intervals are over."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from tests.report.diagnosis.factory import (
    fake_results,
    fake_rows,
    from_logs,
    with_inference,
    with_pooled,
    with_rounds,
)

from palimpsest.records.results import Drawn, Results
from palimpsest.report.diagnosis import FIGURES, prompt_data, render_page
from palimpsest.report.diagnosis.answer import answer_in_three_lines
from palimpsest.report.diagnosis.explained_answers import Suspect
from palimpsest.report.page import PageFigure

HOW_MANY = re.compile(r"n = [\d,]+( to [\d,]+)? ")
OVER = re.compile(r"intervals?\b|confidence sequences")
RESULTS = {
    "plain": fake_results(),
    "inference": with_inference(fake_results()),
    "pooled": with_pooled(fake_results()),
    "logs": from_logs(fake_results(), "binary"),
    "graded": from_logs(fake_results(), "graded"),
    "rounds": with_rounds(fake_results()),
    "samples": fake_results().model_copy(
        update={"samples": Drawn(n=5, temperature=0.7, top_p=1, seed=0)}
    ),
}
EVERY = pytest.mark.parametrize("results", RESULTS.values(), ids=RESULTS)


class Bases(HTMLParser):
    """Collects, for each figure and table of a page but those of facts, what it stands on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self._open: list[tuple[str, list[str]]] = []
        self._n_within = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = (dict(attrs).get("class") or "").split()
        if tag == "figure" or (tag == "table" and "facts" not in classes):
            self.found.append([])
            self._open.append((tag, self.found[-1]))
        self._n_within += tag == "span" and (self._n_within > 0 or "basis" in classes)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1][0] == tag:
            self._open.pop()
        self._n_within -= tag == "span" and self._n_within > 0

    def handle_data(self, data: str) -> None:
        if self._n_within and self._open:
            self._open[-1][1].append(data)


def bases(page: str) -> list[str]:
    parser = Bases()
    parser.feed(page)
    return [" ".join(parts) for parts in parser.found]


def says_it(basis: str) -> bool:
    return bool(HOW_MANY.search(basis) and OVER.search(basis))


@EVERY
def test_every_figure_says_it(results: Results) -> None:
    drawings = FIGURES.drawings(results)
    assert drawings
    assert [drawing.name for drawing in drawings if not says_it(drawing.basis)] == []


@EVERY
def test_every_figure_and_table_of_the_page_says_it(results: Results) -> None:
    rows = fake_rows(40)
    figures = [PageFigure(each, "", "") for each in FIGURES.drawings(results)]  # type: ignore[arg-type]
    suspects = [Suspect("further on", "identity", "Say 1", "1", "It is 1")]
    data = prompt_data(rows, tells_abilities=True, from_logs=False)
    page = render_page(results, figures, data, rows, suspects)
    found = bases(page)
    assert len(found) > len(figures) + 2
    assert [basis for basis in found if not says_it(basis)] == []


def test_a_table_without_it_is_found() -> None:
    assert bases('<table><caption>n = 3</caption></table><table class="facts"></table>') == [""]
    assert not says_it("n = 3 examples")
    assert not says_it("95 % intervals")


@EVERY
def test_the_page_answers_in_three_lines(results: Results) -> None:
    asked, out, sure = answer_in_three_lines(results)
    assert [asked[0], out[0], sure[0]] == ["Asked", "Came out", "How sure"]
    assert asked[1].startswith("400 examples of icl-vs-if:rosetta in 4 cells, plainly and in 7")
    assert "98.5 % right before tuning, 24.0 % after it; under" in out[1]
    assert "Cells: 1 suppressed, 1 kept, 1 lost, 1 inconclusive." in out[1]
    assert re.match(r"Fall 74.5 points \[.*\], p < 0.001, n = 400; of it back ", sure[1])
    assert OVER.search(sure[1])


def test_warnings_are_named_where_it_is_said_how_sure_it_is() -> None:
    sure = answer_in_three_lines(fake_results(warnings=["Mind this.", "And that."]))[2][1]
    assert sure.endswith("Read the 2 warnings below first.")
