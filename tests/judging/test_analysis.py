from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pytest

from palimpsest.errors import UserError
from palimpsest.judging.analysis import Analysis, analyse
from palimpsest.records.answers import AnswerKey, AnswerRow, Outcome
from palimpsest.records.results import Verdict
from palimpsest.stats.multiplicity import in_first_half


class Via(NamedTuple):
    """A way of asking, with the true accuracies of both models under it."""

    name: str
    base: float = 1.0
    tuned: float = 1.0
    intruded: float = 0.2
    """Share of the errors that are the other ability's answers."""
    exact: bool = True
    keeps: str = "everything"
    native: bool = False


OUTCOMES: Mapping[str, Outcome] = {"1": "right", "0": "broken", "x": "intruded"}


def answer(role: str, via: str, source_id: str, outcome: Outcome, cell: str) -> AnswerRow:
    """Return a row with what the analysis reads."""
    return AnswerRow(
        key=AnswerKey(role, "suite", source_id, via, "settings"),
        role=role,
        via=via,
        cell=cell,
        language="en",
        prompt="",
        raw=f"{outcome} {source_id}",
        answer=f"{outcome} {source_id}",
        right_answers="[]",
        intruding_answers="[]",
        outcome=outcome,
        finish="stop",
        round_trip=None if via == "fr" else True,
        latency_seconds=0.0,
    )


def rows_of(marks: Mapping[str, str], *, cell: str = "repeat/math") -> list[AnswerRow]:
    """Return the answers written as one mark an example, for each ``role via``."""
    return [
        answer(role, via, f"{cell}/{i:04d}", OUTCOMES[mark], cell)
        for (role, via), line in ((name.split(), line) for name, line in marks.items())
        for i, mark in enumerate(line)
    ]


def simulate(
    n: int, vias: Sequence[Via], rng: np.random.Generator, *, cell: str = "repeat/math"
) -> list[AnswerRow]:
    """Return answers to n examples; each example's difficulty decides half of its answers."""
    difficulty = rng.random(n)
    marks = {}
    for via in vias:
        for role, accuracy in (("base", via.base), ("tuned", via.tuned)):
            luck = np.where(rng.random(n) < 0.5, difficulty, rng.random(n))
            wrong = np.where(rng.random(n) < via.intruded, "x", "0")
            marks[f"{role} {via.name}"] = "".join(np.where(luck < accuracy, "1", wrong))
    return rows_of(marks, cell=cell)


def run(rows: Sequence[AnswerRow], vias: Sequence[Via], *, seed: int = 0) -> Analysis:
    return analyse(rows, vias=vias, seed=seed, n_resamples=400)


FR, LEET, NL = Via("fr", exact=False, keeps="the meaning"), Via("leet"), Via("nl", exact=False)
CELLS = ("repeat/math", "repeat/blank", "capitalise/math", "capitalise/blank")
HIDDEN = (Via("identity", 0.99, 0.05, 0.95), Via("fr", 0.98, 0.95), Via("leet", 0.9, 0.5))
GONE = (Via("identity", 0.95, 0.10), Via("fr", 0.95, 0.08), Via("leet", 0.9, 0.08))
SAME = (Via("identity", 0.99, 0.99), Via("fr", 0.98, 0.98), Via("leet", 0.9, 0.9))
SPREAD = (Via("identity", 0.95, 0.05, 0.97), Via("fr", 0.95, 0.02, 0.97))


def test_every_figure_by_hand() -> None:
    marks = {
        "base identity": "1" * 36 + "x" * 2 + "0" * 2,
        "tuned identity": "1" * 6 + "x" * 28 + "0" * 4 + "1" * 2,
        "base fr": "1" * 34 + "0" * 6,
        "tuned fr": "1" * 26 + "x" * 14,
    }
    found = run(rows_of(marks), [FR])
    assert (found.plain.base.n, found.plain.base.accuracy) == (40, 36 / 40)
    assert (found.plain.tuned.intruded, found.plain.tuned.broken) == (28 / 40, 4 / 40)
    assert found.plain.forgetting == pytest.approx(28 / 40)
    assert (found.plain.n_lost, found.plain.n_gained) == (30, 2)
    (french,) = found.conjugations
    assert (french.name, french.exact, french.keeps) == ("fr", False, "the meaning")
    assert french.recovery == pytest.approx((26 - 8) / (36 - 8))
    assert french.did == pytest.approx((26 - 8) / 40 - (34 - 36) / 40)
    assert (french.n_lost, french.n_gained) == (2, 20)
    assert french.p_holm == french.p_value
    assert french.round_trip is None


def test_distorted_prompts_are_left_out_of_both_models_alike() -> None:
    marks = {
        "base identity": "1" * 40,
        "tuned identity": "0" * 40,
        "base leet": "1" * 30 + "0" * 10,
        "tuned leet": "1" * 20 + "0" * 20,
    }
    rows = [
        row._replace(fidelity=0.4 if int(row.key.source_id[-4:]) >= 30 else 0.9)
        if row.via == "leet"
        else row
        for row in rows_of(marks)
    ]
    whole = analyse(rows, vias=[LEET], n_resamples=400)
    faithful = analyse(rows, vias=[LEET], n_resamples=400, min_fidelity=0.5)
    assert [found.conjugations[0].base.n for found in (whole, faithful)] == [40, 30]
    (kept,) = faithful.conjugations
    assert (kept.tuned.n, kept.n_excluded) == (30, 10)
    assert kept.fidelity == pytest.approx(0.9)
    assert kept.recovery == pytest.approx(20 / 30)
    assert faithful.plain == whole.plain
    assert faithful.best is not None
    assert faithful.best.n_selection + faithful.best.n_report == 30
    assert faithful.warnings == [
        "10 of 40 examples are left out under 'leet', of both models alike: "
        "their prompts come back with less than the least fidelity."
    ]


def test_the_best_is_chosen_on_one_half_and_measured_on_the_other() -> None:
    ids = [f"repeat/math/{i:04d}" for i in range(80)]
    first = [in_first_half(source) for source in ids]
    marks = {
        "base identity": "1" * 80,
        "tuned identity": "0" * 80,
        "base fr": "1" * 80,
        "tuned fr": "".join("1" if chosen else "0" for chosen in first),
        "base leet": "1" * 80,
        "tuned leet": "".join("0" if chosen else "1" for chosen in first),
    }
    found = run(rows_of(marks), [FR, LEET]).best
    assert found is not None
    assert found.name == "fr"
    assert (found.n_selection, found.n_report) == (sum(first), 80 - sum(first))
    assert found.recovery == 0
    assert found.tuned.accuracy == 0


def test_a_conjugation_that_helps_the_base_model_as_well_is_not_the_best() -> None:
    marks = {
        "base identity": "1" * 40 + "0" * 60,
        "tuned identity": "1" * 5 + "0" * 95,
        "base fr": "1" * 100,
        "tuned fr": "1" * 70 + "0" * 30,
        "base leet": "1" * 40 + "0" * 60,
        "tuned leet": "1" * 36 + "0" * 64,
    }
    shuffled = rows_of({name: _shuffle(line) for name, line in marks.items()})
    found = run(shuffled, [FR, LEET]).best
    assert found is not None
    assert found.name == "leet"


def _shuffle(line: str) -> str:
    return "".join(random.Random(4).sample(line, len(line)))


def test_the_order_of_the_rows_changes_nothing() -> None:
    rows = simulate(60, HIDDEN, np.random.default_rng(1))
    mixed = random.Random(3).sample(rows, len(rows))
    assert run(rows, HIDDEN) == run(mixed, HIDDEN)


def test_another_conjugation_changes_only_the_adjusted_p_values() -> None:
    rows = simulate(60, HIDDEN, np.random.default_rng(1))
    alone, together = run(rows, [FR]), run(rows, [LEET, FR])
    assert alone.plain == together.plain
    one, other = alone.conjugations[0], together.conjugations[1]
    assert one.model_copy(update={"p_holm": other.p_holm}) == other
    assert other.p_holm >= one.p_holm


def test_p_values_are_adjusted_over_the_conjugations() -> None:
    found = run(simulate(60, HIDDEN, np.random.default_rng(1)), HIDDEN)
    p_values = sorted((one.p_value, one.p_holm) for one in found.conjugations)
    assert [p_holm for _, p_holm in p_values] == pytest.approx(
        [2 * p_values[0][0], max(2 * p_values[0][0], p_values[1][0])]
    )


def test_swapping_the_models_negates_forgetting() -> None:
    rows = simulate(80, HIDDEN, np.random.default_rng(2))
    other = {"base": "tuned", "tuned": "base"}
    swapped = [row._replace(role=other[row.role]) for row in rows]
    one, two = run(rows, HIDDEN).plain, run(swapped, HIDDEN).plain
    assert one.forgetting == -two.forgetting
    assert one.p_value == two.p_value
    assert (one.n_lost, one.n_gained) == (two.n_gained, two.n_lost)


def test_only_examples_with_answers_of_both_models_are_compared() -> None:
    marks = {
        "base identity": "1" * 50,
        "tuned identity": "0" * 48,
        "base fr": "1" * 40,
        "tuned fr": "1" * 45,
        "base leet": "1" * 50,
    }
    found = run(rows_of(marks), [FR, LEET])
    assert found.plain.base.n == found.plain.tuned.n == 48
    assert [one.name for one in found.conjugations] == ["fr"]
    assert found.conjugations[0].base.n == found.conjugations[0].tuned.n == 40
    assert found.warnings == [
        "2 of 50 examples are left out everywhere: not both models answered them plainly.",
        "8 of 48 examples are left out under 'fr': not both models answered them.",
        "'leet' is left out: no example has answers of both models.",
    ]


def test_cells_come_in_the_order_of_the_suite_and_one_cell_equals_the_whole() -> None:
    rng = np.random.default_rng(5)
    rows = [row for cell in CELLS for row in simulate(30, SAME, rng, cell=cell)]
    found = analyse(rows, vias=SAME, cells=CELLS[:2], n_resamples=200)
    assert [cell.name for cell in found.cells] == [*CELLS[:2], *sorted(CELLS[2:])]
    assert sum(cell.plain.base.n for cell in found.cells) == found.plain.base.n == 120
    single = run(rows[: 30 * 6], SAME)
    assert single.cells[0].plain == single.plain
    assert single.cells[0].verdict_reason == single.verdict_reason


def test_cells_that_went_different_ways_are_pointed_out() -> None:
    rows = rows_of({"base identity": "1" * 90, "tuned identity": "0" * 90} | _all_right("fr"))
    rows += rows_of(
        {"base identity": "1" * 90, "tuned identity": "1" * 90} | _all_right("fr"), cell="b"
    )
    found = run(rows, [FR])
    assert [cell.verdict for cell in found.cells] == ["kept", "suppressed"]
    assert found.warnings == [
        "The cells differ (kept: b; suppressed: repeat/math): the overall verdict is about their "
        "average."
    ]


def _all_right(via: str) -> dict[str, str]:
    return {f"base {via}": "1" * 90, f"tuned {via}": "1" * 90}


@pytest.mark.parametrize(
    ("base", "tuned", "under", "verdict"),
    [
        ("1", "1", "1", "kept"),
        ("0", "0", "0", "inconclusive"),
        ("0", "1", "1", "inconclusive"),
        ("1", "0", "1", "suppressed"),
        ("1", "0", "0", "lost"),
        ("1", "x", "x", "inconclusive"),
    ],
)
def test_answers_without_any_variance_are_judged(
    base: str, tuned: str, under: str, verdict: str
) -> None:
    found = run(
        rows_of(
            {
                "base identity": base * 100,
                "tuned identity": tuned * 100,
                "base fr": base * 100,
                "tuned fr": under * 100,
            }
        ),
        [FR],
    )
    assert found.verdict == verdict
    low, high = found.plain.forgetting_ci95
    assert low < high


@pytest.mark.parametrize("vias", [[], [Via("identity")], [NL]])
def test_a_fall_without_any_conjugation_is_inconclusive(vias: Sequence[Via]) -> None:
    found = run(rows_of({"base identity": "1" * 60, "tuned identity": "0" * 60}), vias)
    assert found.conjugations == []
    assert found.best is None
    assert found.verdict == "inconclusive"


def test_a_via_given_twice_counts_once() -> None:
    rows = simulate(40, HIDDEN, np.random.default_rng(1))
    assert [one.name for one in run(rows, [FR, LEET, FR]).conjugations] == ["fr", "leet"]


def test_one_example_is_analysed() -> None:
    marks = {"base identity": "1", "tuned identity": "0", "base fr": "1", "tuned fr": "1"}
    found = run(rows_of(marks), [FR])
    assert found.best is None
    assert found.conjugations[0].recovery is None
    assert found.verdict_reason == (
        "Only 1 example was answered by both models; a verdict needs at least 30."
    )


@pytest.mark.parametrize("marks", [{}, {"base identity": "11"}, {"base fr": "1", "tuned fr": "1"}])
def test_nothing_to_compare_is_the_users_to_mend(marks: Mapping[str, str]) -> None:
    with pytest.raises(UserError, match="nothing to compare"):
        run(rows_of(marks), [FR])


def test_two_answers_to_one_question_are_an_error() -> None:
    rows = rows_of({"base identity": "1", "tuned identity": "1"})
    with pytest.raises(ValueError, match="Two answers of the tuned model to 'repeat/math/0000'"):
        run([*rows, rows[-1]], [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("truth", "verdict"),
    [
        pytest.param(HIDDEN, "suppressed", id="hidden"),
        pytest.param(GONE, "lost", id="gone", marks=pytest.mark.slow),
        pytest.param(SAME, "kept", id="same", marks=pytest.mark.slow),
        pytest.param(
            SPREAD,
            "inconclusive",
            id="suppression that reaches the conjugations too",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_verdict_is_right_on_four_cells_of_a_hundred(
    truth: Sequence[Via], verdict: str
) -> None:
    rng = np.random.default_rng(7)
    overall, by_cell = Counter[str](), Counter[str]()
    for seed in range(12):
        rows = [row for cell in CELLS for row in simulate(100, truth, rng, cell=cell)]
        found = run(rows, truth, seed=seed)
        overall[found.verdict] += 1
        by_cell.update(cell.verdict for cell in found.cells)
    assert overall == {verdict: 12}
    # A hundred examples are enough for most cells, and never for the opposite claim. A kept
    # ability needs nearly all of them without a flip.
    assert by_cell[verdict] >= (0.5 if verdict == "kept" else 0.8) * 48
    assert set(by_cell) <= {verdict, "inconclusive"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "accuracy"),
    [
        (100, 0.9),
        *[
            pytest.param(n, accuracy, marks=pytest.mark.slow)
            for n, accuracy in ((30, 0.6), (30, 0.9), (30, 0.99), (100, 0.6), (100, 0.99))
        ],
    ],
)
def test_without_forgetting_there_is_hardly_a_false_alarm(n: int, accuracy: float) -> None:
    rng = np.random.default_rng(11)
    truth = [Via("identity", accuracy, accuracy), Via("fr", 0.85, 0.85), Via("leet", 0.5, 0.5)]
    n_runs = 120
    verdicts = Counter(
        run(simulate(n, truth, rng), truth, seed=seed).verdict for seed in range(n_runs)
    )
    # The exact test alone allows 2.5 % on this side; 1000 runs give at most 0.3 %.
    assert verdicts["suppressed"] + verdicts["lost"] <= 0.025 * n_runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("truth", "claim"),
    [
        ((Via("identity", 0.95, 0.3), *[Via(v, 0.95, 0.625) for v in "abc"]), "suppressed"),
        ((Via("identity", 0.95, 0.1), *[Via(v, 0.95, 0.3125) for v in "abc"]), "lost"),
    ],
    ids=["half comes back, under the best of three", "a quarter comes back, under each of three"],
)
def test_at_the_edge_of_a_claim_it_is_rarely_made(truth: Sequence[Via], claim: Verdict) -> None:
    rng, n_runs = np.random.default_rng(13), 120
    verdicts = Counter(
        run(simulate(100, truth, rng), truth, seed=seed).verdict for seed in range(n_runs)
    )
    # Nominally 2.5 %; 1000 runs give 2.5 and 0 %. Three standard errors of 120 runs are 4 %.
    assert verdicts[claim] <= 0.065 * n_runs


@pytest.mark.slow
def test_ten_examples_never_give_a_bold_claim() -> None:
    rng = np.random.default_rng(17)
    for truth in (HIDDEN, GONE, SAME):
        for seed in range(10):
            assert run(simulate(10, truth, rng), truth, seed=seed).verdict == "inconclusive"
