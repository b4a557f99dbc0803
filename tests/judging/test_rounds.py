"""Rounds: decided cells are asked no more, and a run that stops or grows goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.judging.diagnosis import diagnose
from palimpsest.judging.rounds import FIRST_ROUND, FIRST_UNDER
from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.results import CellRounds, Results
from palimpsest.records.store import AnswerStore

pytestmark = pytest.mark.usefixtures("empty_figures")

VIAS = ("rot13", "pig-latin")
CELLS = ("gone", "hidden", "same")


def suite_of(n: int, cells: Sequence[str] = CELLS, name: str = "words") -> Suite:
    examples = [
        Example(f"{cell}-{i}", cell, "en", f"Copy {_word(cell, i)}", {"copy": (_word(cell, i),)})
        for cell in cells
        for i in range(n)
    ]
    return Suite(name, tuple(examples), max_new_tokens=4)


@cache
def _word(cell: str, i: int) -> str:
    return f"{cell}{chr(97 + i // 676)}{chr(97 + i // 26 % 26)}{chr(97 + i % 26)}"


class Script(ScriptedModel):
    """Copies the word, but in the ways of asking of some cells; counts what it is asked."""

    def __init__(self, name: str, fails: Mapping[str, Sequence[str]], n: int = 400) -> None:
        answers: dict[str, str] = {}
        for cell in CELLS:
            for i in range(n):
                word, prompt = _word(cell, i), f"Copy {_word(cell, i)}"
                for way in ("identity", *VIAS):
                    s = parse_conjugation(way).apply
                    is_wrong = way in fails.get(cell, ())
                    answers[s(prompt)] = f" zzz{i}" if is_wrong else f" {s(word)}"
        self.asked: list[Prompt] = []
        self.stop_at: int | None = None

        def answer(prompt: Prompt) -> str:
            if len(self.asked) == self.stop_at:
                raise KeyboardInterrupt
            self.asked.append(prompt)
            return answers[str(prompt)]

        super().__init__(answer, name=name, fingerprint=name)


ALL = ("identity", *VIAS)


def base() -> Script:
    return Script("base", {})


def tuned() -> Script:
    return Script("tuned", {"gone": ALL, "hidden": ("identity", "pig-latin")})


def run(
    first: Script, second: Script, suite: Suite, out: Path | None = None, **more: object
) -> Results:
    options: dict[str, object] = {"via": VIAS, "until_sure": True, "n_resamples": 50, **more}
    return diagnose(first, second, suite=suite, out=out, **options)  # type: ignore[arg-type]


def _rounds(found: Results) -> dict[str, CellRounds]:
    assert found.until_sure is not None
    return {cell.name: cell for cell in found.until_sure.cells}


def test_every_cell_gets_its_verdict_and_what_is_decided_is_asked_no_more() -> None:
    models = base(), tuned()
    found = run(*models, suite_of(200))
    assert {cell.name: cell.verdict for cell in found.cells} == {
        "gone": "lost", "hidden": "suppressed", "same": "kept",
    }  # fmt: skip
    cells = _rounds(found)
    assert cells["same"].n_under == {"rot13": 0, "pig-latin": 0}, "nothing fell there"
    assert cells["hidden"].n_plain == FIRST_ROUND
    assert cells["hidden"].n_under["pig-latin"] == FIRST_UNDER, "it promises nothing"
    assert cells["hidden"].n_under["rot13"] > FIRST_UNDER
    assert all(n > FIRST_UNDER for n in cells["gone"].n_under.values()), "shown under each"
    assert found.until_sure is not None
    assert found.until_sure.n_answers == sum(len(model.asked) for model in models)
    assert found.until_sure.n_answers < found.until_sure.n_all / 3
    assert len(models[0].asked) == len(set(models[0].asked)), "no prompt is asked twice"


def test_intervals_are_sequences_and_say_so() -> None:
    found = run(base(), tuned(), suite_of(200))
    for cell in found.cells:
        assert cell.plain.at_any_time
        assert cell.plain.forgetting_ci95 == cell.plain.forgetting_newcombe95
        low, high = cell.plain.forgetting_ci95
        assert low <= cell.plain.forgetting <= high
        assert cell.best is None
    hidden = next(cell for cell in found.cells if cell.name == "hidden")
    back = next(one for one in hidden.conjugations if one.name == "rot13")
    assert back.recovery == 1
    assert back.recovery_ci95 is not None
    assert back.recovery_ci95[0] > 0.5
    assert "with all conjugations together" in hidden.verdict_reason


def test_all_cells_together_are_judged_on_what_was_asked_evenly() -> None:
    found = run(base(), tuned(), suite_of(200))
    least = min(cell.n_plain for cell in _rounds(found).values())
    assert found.plain.base.n == 3 * least
    assert found.plain.forgetting == pytest.approx(2 / 3)


@pytest.mark.slow
@pytest.mark.parametrize("n_answers", [5, 61, 90, 200])
def test_a_run_that_is_interrupted_and_continued_ends_as_one_that_is_not(
    tmp_path: Path, n_answers: int
) -> None:
    whole = run(base(), tuned(), suite_of(150), tmp_path / "whole")
    first, second = base(), tuned()
    first.stop_at = second.stop_at = n_answers
    with pytest.raises(KeyboardInterrupt):
        run(first, second, suite_of(150), tmp_path / "parts")
    first.stop_at = second.stop_at = None
    found = run(first, second, suite_of(150), tmp_path / "parts")
    for model, alone in ((first, base()), (second, tuned())):
        assert len(model.asked) == len(set(model.asked)), alone.spec
    assert found.until_sure == whole.until_sure
    assert found.cells == whole.cells
    assert found.plain == whole.plain


@pytest.mark.slow
def test_a_run_that_is_extended_begins_with_the_examples_that_it_had(tmp_path: Path) -> None:
    models = base(), tuned()
    small = run(*models, suite_of(25), tmp_path)
    same = next(cell for cell in small.cells if cell.name == "same")
    assert same.verdict == "inconclusive"
    assert same.verdict_reason.endswith(
        "the prompts are used up before it is sure whether it fell by less or more than 5 points."
    )
    n_before = [len(model.asked) for model in models]
    large = run(*models, suite_of(200), tmp_path)
    assert {cell.verdict for cell in large.cells} == {"lost", "suppressed", "kept"}
    for model, n in zip(models, n_before, strict=True):
        assert len(model.asked) == len(set(model.asked)), "nothing is asked again"
        assert len(model.asked) > n
    # What was decided before stays as it was, on the same examples.
    before, after = ({c.name: c for c in found.cells} for found in (small, large))
    assert after["hidden"].plain == before["hidden"].plain
    assert _rounds(large)["hidden"].n_under == _rounds(small)["hidden"].n_under
    with AnswerStore(tmp_path / "answers.sqlite", read_only=True) as store:
        rows = [row for row in store.run_rows() if row.cell == "same" and row.via == "identity"]
    first = {row.key.source_id for row in rows[: 2 * 25]}
    assert {f"same-{i}" for i in range(25)} <= {row.key.source_id for row in rows}
    assert len(first) >= 25


def test_the_order_of_the_suite_changes_nothing() -> None:
    suite = suite_of(120)
    turned = Suite("words", tuple(reversed(suite.examples)), max_new_tokens=4)
    one, other = (run(base(), tuned(), each) for each in (suite, turned))
    assert sorted(one.cells, key=lambda cell: cell.name) == sorted(
        other.cells, key=lambda cell: cell.name
    )


def test_a_suite_smaller_than_the_first_round_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no more than 12 examples a cell") as refused:
        run(base(), tuned(), suite_of(12), tmp_path / "out")
    assert refused.value.hint is not None
    assert "Leave out --until-sure" in refused.value.hint


def test_a_small_cell_beside_large_ones_is_asked_whole() -> None:
    small = tuple(example for example in suite_of(12).examples if example.cell == "same")
    large = tuple(example for example in suite_of(100).examples if example.cell == "gone")
    found = run(base(), tuned(), Suite("words", small + large, max_new_tokens=4))
    cells = _rounds(found)
    assert (cells["same"].n_plain, cells["same"].is_decided) == (12, False)
    assert cells["gone"].is_decided


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(UserError, match="--inference measures all prompts"):
        run(base(), tuned(), suite_of(30), inference=True)


def test_a_folder_whose_order_is_broken_is_the_users_to_mend(tmp_path: Path) -> None:
    run(base(), tuned(), suite_of(25), tmp_path)
    (tmp_path / "rounds.json").write_text('{"order": 3}', "utf-8")
    with pytest.raises(UserError, match="does not hold the order"):
        run(base(), tuned(), suite_of(25), tmp_path)


def test_without_conjugations_a_fall_ends_inconclusive_and_soon() -> None:
    found = run(base(), tuned(), suite_of(200, cells=("gone",)), via=())
    assert found.verdict == "inconclusive"
    assert "without a conjugation nothing shows" in found.verdict_reason
    assert _rounds(found)["gone"].n_plain == FIRST_ROUND
