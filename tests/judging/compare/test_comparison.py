from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.judging.compare.runs import graded, run

from palimpsest.judging.compare import compare
from palimpsest.judging.compare.tasks import LoggedPair
from palimpsest.judging.conclude import read_results, rewrite_report
from palimpsest.records.results import Results
from palimpsest.records.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("empty_figures")

N = 100
ALL, NONE = "1" * N, "0" * N


def found(base: str, tuned: str, **conjugated: tuple[str, str]) -> Results:
    runs = {name: (run("b", {"qa": one}), run("t", {"qa": other}))
            for name, (one, other) in conjugated.items()}  # fmt: skip
    return compare(
        run("base", {"qa": base}), run("tuned", {"qa": tuned}), conjugated=runs, n_resamples=1000
    )


@pytest.mark.slow
def test_the_verdicts_of_clear_cases() -> None:
    assert found(ALL, ALL).verdict == "kept"
    assert found(ALL, NONE, leet=(ALL, ALL)).verdict == "suppressed"
    assert found(ALL, NONE, leet=(ALL, NONE)).verdict == "lost"
    without = found(ALL, NONE)
    assert without.verdict == "inconclusive"
    assert "without a conjugation nothing shows" in without.verdict_reason


def test_a_fall_by_hand() -> None:
    results = found("1" * 90 + "0" * 10, "1" * 30 + "0" * 65 + "1" * 5)
    assert results.plain.forgetting == pytest.approx(0.9 - 0.35)
    assert (results.plain.n_lost, results.plain.n_gained) == (60, 5)
    assert results.suite.scoring == "binary"
    assert results.plain.forgetting_newcombe95 is not None


@pytest.mark.slow
def test_known_conjugations_are_exact_or_lossy_and_languages_native() -> None:
    tasks = {"xnli_en": ALL, "xnli_fr": ALL}
    pair = (run("base", tasks), run("tuned", tasks))
    results = compare(
        *pair, conjugated={"leet": pair, "upper": pair, "mine": pair}, n_resamples=200
    )
    kinds = {one.name: (one.exact, one.native) for one in results.conjugations}
    assert kinds["fr"] == (False, True)
    assert kinds["leet"] == (True, False)
    assert kinds["upper"] == kinds["mine"] == kinds["fr|leet"] == (False, False)


def test_lost_says_what_such_logs_cannot_show() -> None:
    def note(*, tells: bool) -> bool:
        def pair(base: str, tuned: str) -> LoggedPair:
            return run("b", {"qa": base}, tells=tells), run("t", {"qa": tuned}, tells=tells)

        results = compare(
            *pair(ALL, NONE),
            conjugated={"leet": pair(ALL, NONE)},
            n_resamples=200,
        )
        assert results.verdict == "lost"
        return any("not whether they are another task's" in said for said in results.warnings)

    assert note(tells=False)
    assert not note(tells=True)


def test_intruded_answers_keep_a_loss_open_as_in_a_diagnosis() -> None:
    def pair(base: str, tuned: str) -> LoggedPair:
        return run("b", {"qa": base}, tells=True), run("t", {"qa": tuned}, tells=True)

    results = compare(
        *pair(ALL, "x" * N),
        conjugated={"leet": pair(ALL, "x" * N)},
        n_resamples=200,
    )
    assert results.verdict == "inconclusive"
    assert results.suite.scoring == "abilities"
    assert results.plain.tuned.intruded == 1


def test_guesses_are_taken_off_where_there_are_choices() -> None:
    tasks = "1" * 80 + "0" * 20, "1" * 50 + "0" * 50
    base, tuned = (run(name, {"qa": marks}, chance=0.25)
                   for name, marks in zip("bt", tasks, strict=True))  # fmt: skip
    results = compare(base, tuned, n_resamples=500)
    adjusted = results.plain.adjusted
    assert adjusted is not None
    assert results.suite.chance == adjusted.chance == 0.25
    assert adjusted.base == pytest.approx((0.8 - 0.25) / 0.75)
    assert adjusted.forgetting == pytest.approx(0.3 / 0.75)
    # 20 of 100 both wrong: by luck 20 · (1/3) flip either way.
    assert adjusted.lost == pytest.approx((0.30 - 0.2 / 3) / 0.75)
    assert adjusted.gained == pytest.approx((0 - 0.2 / 3) / 0.75)
    assert found(*tasks).plain.adjusted is None


def test_tasks_are_cells_with_p_values_adjusted_over_them() -> None:
    tasks = {"a": ("1" * 40, "1" * 30 + "0" * 10), "b": ("1" * 40, "1" * 40)}
    base, tuned = (run(name, {task: marks[i] for task, marks in tasks.items()})
                   for i, name in enumerate(("base", "tuned")))  # fmt: skip
    results = compare(base, tuned, n_resamples=500)
    first, second = results.cells
    assert (first.name, second.name) == ("a", "b")
    assert first.p_holm == pytest.approx(2 * first.plain.p_value)
    assert second.p_holm == 1


def test_graded_scores_get_bootstrap_and_randomisation_test() -> None:
    rng = np.random.default_rng(0)
    base = {str(i): float(x) for i, x in enumerate(rng.uniform(0.5, 1, 60))}
    tuned = {key: score - 0.3 for key, score in base.items()}
    results = compare(graded("base", base), graded("tuned", tuned), n_resamples=2000)
    plain = results.plain
    assert results.suite.scoring == "graded"
    assert plain.forgetting == pytest.approx(0.3)
    assert plain.forgetting_newcombe95 is None
    assert plain.p_value == pytest.approx(1 / 2001)
    assert (plain.n_lost, plain.n_gained) == (60, 0)
    assert plain.base.ci95[0] < plain.base.accuracy < plain.base.ci95[1]
    assert results.verdict_reason.startswith("The mean score fell by 30 points")
    same = compare(graded("base", base), graded("tuned", base), n_resamples=2000)
    assert same.verdict == "kept"


def test_epochs_count_by_their_mean_and_items_stay_the_unit() -> None:
    base = {str(i): [1.0, 1.0, 0.0] for i in range(40)}
    tuned = {str(i): [1.0, 0.0, 0.0] for i in range(40)}
    results = compare(graded("base", base), graded("tuned", tuned), n_resamples=500)
    assert results.plain.base.n == 40
    assert results.plain.forgetting == pytest.approx(1 / 3)


@pytest.mark.slow
def test_the_run_folder_is_that_of_a_diagnosis(tmp_path: Path) -> None:
    out = tmp_path / "out"
    results = compare(
        graded("base", {str(i): 0.5 for i in range(40)}),
        graded("tuned", {str(i): 0.25 for i in range(40)}),
        out=out,
        n_resamples=200,
    )
    assert read_results(RunFolder.find(out)) == results
    config = json.loads((out / "run.json").read_text("utf-8"))["config"]
    assert config["logs"] == {"identity": ["base", "tuned"]}
    page = (out / "report.html").read_text("utf-8")
    (out / "report.html").unlink()
    rewrite_report(out)
    assert (out / "report.html").read_text("utf-8") == page
    assert "Nothing was asked" in page
    assert "intruded" not in page.partition("<main>")[2].partition("<script")[0]


@pytest.mark.slow
def test_a_log_compared_with_itself_changed_nothing(tmp_path: Path) -> None:
    same = run("same", {"qa": "1" * 50 + "0" * 50})
    results = compare(same, same, out=tmp_path / "out", n_resamples=200)
    assert results.plain.forgetting == 0
    assert results.plain.p_value == 1
