"""Cells that the base model cannot do are asked of nothing else, and say so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from palimpsest.judging import diagnose, rescore
from palimpsest.lm.models import ScriptedModel
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.suites import Example, Suite, load_suite
from palimpsest.records import Results

N = 30


def a_suite(n: int = N, cells: str = "abc", *, skips_floor: bool = True) -> Suite:
    return Suite(
        name="letters",
        examples=tuple(
            Example(f"{cell}/{at:03}", cell, "en", f"Say {cell}{at}!", {"say": (f"{cell}{at}",)})
            for cell in cells
            for at in range(n)
        ),
        skips_floor=skips_floor,
    )


class Asked(ScriptedModel):
    """Repeats what it is told in some cells, and notes what it was asked."""

    def __init__(self, name: str, knows: Callable[[str], bool]) -> None:
        self.prompts: list[str] = []
        super().__init__(lambda prompt: self._say(prompt, knows), name=name)

    def _say(self, prompt: Prompt, knows: Callable[[str], bool]) -> str:
        assert isinstance(prompt, str)
        self.prompts.append(prompt)
        word = prompt.split()[1].rstrip("!")
        return f" {word}." if knows(word.lower()) else " no idea"


def a_pair() -> tuple[Asked, Asked]:
    base = Asked("base", lambda word: word[0] in "ab" or word in ("c0", "c1"))
    return base, Asked("tuned", lambda word: word[0] == "a")


def run(out: Path | None, pair: tuple[Asked, Asked], suite: Suite) -> Results:
    return diagnose(*pair, suite=suite, via=["upper"], out=out, n_resamples=200)


@pytest.mark.usefixtures("empty_figures")
def test_a_cell_at_the_floor_is_asked_of_the_base_model_plainly_and_of_nothing_else(
    tmp_path: Path,
) -> None:
    base, tuned = a_pair()
    results = run(tmp_path, (base, tuned), a_suite())
    assert sum(prompt.startswith("Say c") for prompt in base.prompts) == N
    assert not any(prompt.startswith("SAY C") for prompt in base.prompts)
    assert not any("c" in prompt.lower() for prompt in tuned.prompts)
    assert len(base.prompts) == 5 * N
    assert len(tuned.prompts) == 4 * N
    [floor] = results.at_floor
    assert (floor.name, floor.n, floor.accuracy, floor.floor) == ("c", N, 2 / N, 0.1)
    assert [cell.name for cell in results.cells] == ["a", "b"]
    assert results.plain.base.n == results.suite.n_source_examples == 2 * N
    assert results.suite.fingerprint == a_suite().fingerprint
    assert not any("left out" in warning for warning in results.warnings)


@pytest.mark.usefixtures("empty_figures")
def test_report_and_table_of_cells_say_so(tmp_path: Path) -> None:
    run(tmp_path, a_pair(), a_suite())
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "not asked further" in page
    assert "the base model is right on 6.7 % of 30 plain prompts" in page
    assert "not clearly more than the least that counts (10.0 %)" in page
    table = (tmp_path / "cells.csv").read_text("utf-8")
    assert "c,not asked further,,plain,30,0.0666" in table


@pytest.mark.usefixtures("empty_figures")
def test_a_run_that_goes_on_decides_alike_and_asks_nothing_again(tmp_path: Path) -> None:
    first = run(tmp_path, a_pair(), a_suite())
    base, tuned = a_pair()
    again = run(tmp_path, (base, tuned), a_suite())
    assert base.prompts == tuned.prompts == []
    assert comparable(again) == comparable(first)


@pytest.mark.usefixtures("empty_figures")
@pytest.mark.slow
def test_answers_of_a_run_that_asked_everything_change_nothing(tmp_path: Path) -> None:
    whole = run(tmp_path / "run", a_pair(), a_suite(skips_floor=False))
    assert [cell.name for cell in whole.cells] == ["a", "b", "c"]
    assert whole.at_floor == []
    again = run(tmp_path / "run", a_pair(), a_suite())
    fresh = run(tmp_path / "fresh", a_pair(), a_suite())
    assert comparable(again) == comparable(fresh)


@pytest.mark.usefixtures("empty_figures")
def test_the_figures_of_other_cells_are_those_without_the_cell(tmp_path: Path) -> None:
    found = run(None, a_pair(), a_suite())
    alone = run(None, a_pair(), a_suite(cells="ab"))
    assert found.plain == alone.plain
    assert found.cells == alone.cells
    assert found.conjugations == alone.conjugations


@pytest.mark.usefixtures("empty_figures")
def test_where_the_base_model_can_do_nothing_both_are_asked_plainly_and_no_more() -> None:
    base, tuned = Asked("base", lambda word: False), Asked("tuned", lambda word: True)
    results = run(None, (base, tuned), a_suite())
    assert len(base.prompts) == len(tuned.prompts) == 3 * N
    assert (results.verdict, results.at_floor, results.conjugations) == ("inconclusive", [], [])
    assert any("In no cell" in warning for warning in results.warnings)
    assert {cell.verdict for cell in results.cells} == {"inconclusive"}


@pytest.mark.usefixtures("empty_figures")
def test_too_few_examples_for_a_verdict_tell_no_floor() -> None:
    results = run(None, a_pair(), a_suite(n=10))
    assert results.at_floor == []
    assert len(results.cells) == 3


@pytest.mark.usefixtures("empty_figures")
def test_guessing_among_choices_is_a_floor() -> None:
    suite = a_suite()
    examples = tuple(
        replace(each, choices=(each.right[0], "no")) if each.cell == "b" else each
        for each in suite.examples
    )
    pair = Asked("base", lambda word: word[0] in "ac" or int(word[1:]) % 2 == 0), a_pair()[1]
    results = run(None, pair, replace(suite, examples=examples))
    [floor] = results.at_floor
    assert (floor.name, floor.accuracy, floor.floor) == ("b", 0.5, 0.5)


@pytest.mark.usefixtures("empty_figures")
@pytest.mark.slow
def test_a_run_judged_anew_keeps_its_floor(tmp_path: Path) -> None:
    before = diagnose(
        *a_pair(), suite=a_suite(), via=["upper"], out=tmp_path / "run", whole="all",
        n_resamples=200,
    )  # fmt: skip
    after = rescore(tmp_path / "run", "contains", out=tmp_path / "again")
    assert after.at_floor == before.at_floor
    assert [cell.name for cell in after.cells] == ["a", "b"]


@pytest.mark.usefixtures("empty_figures")
def test_progress_counts_what_was_asked_plainly_first_as_asked() -> None:
    told: list[tuple[str, int, int, int]] = []
    diagnose(
        *a_pair(), suite=a_suite(), via=["upper"], n_resamples=100,
        progress=lambda *each: told.append(each),
    )  # fmt: skip
    last = {role: (n_done, n_total, n_reused) for role, n_done, n_total, n_reused in told}
    assert last == {"base": (4 * N, 4 * N, 0), "tuned": (4 * N, 4 * N, 0)}


def test_the_suite_abilities_skips_what_the_base_model_cannot_do_unless_it_is_to_ask() -> None:
    assert load_suite("abilities:n=1").skips_floor
    assert not load_suite("abilities:n=1,floor=ask").skips_floor


def comparable(results: Results) -> dict[str, object]:
    values = json.loads(results.to_json())
    return {name: value for name, value in values.items() if name != "provenance"}
