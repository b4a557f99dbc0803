from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.judging.recommend.score import Evidence, Gates, ScoreEstimate, estimate

N_BYTES, PLAIN_BASE, PLAIN_TUNED, BASE, TUNED = 100.0, 150.0, 120.0, 160.0, 180.0


def evidence(n: int = 4, **changes: Any) -> Evidence:
    given = {
        "n_bytes": N_BYTES,
        "plain_base": PLAIN_BASE,
        "plain_tuned": PLAIN_TUNED,
        "base": BASE,
        "tuned": TUNED,
        "fidelity": 0.9,
        **changes,
    }
    has_base = given.pop("has_base", True)
    arrays = {key: np.broadcast_to(np.asarray(value, float), n) for key, value in given.items()}
    return Evidence(**arrays, has_base=has_base)


def estimated(*all_evidence: Evidence, eligible: list[bool] | None = None) -> list[ScoreEstimate]:
    rng = np.random.default_rng(0)
    return estimate(all_evidence, eligible, rng=rng, n_resamples=500)


def test_the_terms_are_those_of_the_formula() -> None:
    [found] = estimated(evidence())
    # Evidence falls from 150 - 120 = 30 bits to 160 - 180 = -20, over 100 bytes; of 800 - 150 bits
    # that the base saves on a plain prompt, it saves 800 - 160 on the conjugated one.
    assert found.shift.value == pytest.approx(0.5)
    assert found.handling.value == pytest.approx(640 / 650)
    assert found.fidelity.value == pytest.approx(0.9)
    assert found.score.value == pytest.approx(0.5 * 640 / 650 * 0.9)


def test_without_a_base_model_the_shift_is_the_fall_of_familiarity() -> None:
    [found] = estimated(evidence(plain_base=PLAIN_TUNED, base=TUNED, has_base=False))
    assert found.shift.value == pytest.approx(0.6)
    assert found.handling.value == pytest.approx((800 - 180) / (800 - 120))


@pytest.mark.parametrize(
    ("base_bits", "handling"),
    [(PLAIN_BASE, 1.0), (PLAIN_BASE - 20, 1.0), (8 * N_BYTES, 0.0), (9 * N_BYTES, 0.0)],
)
def test_handling_lies_between_nothing_and_as_well_as_the_plain_prompt(
    base_bits: float, handling: float
) -> None:
    assert evidence(base=base_bits).terms.handling == pytest.approx(handling)


def test_a_base_model_that_knows_nothing_of_the_plain_prompts_handles_nothing() -> None:
    assert evidence(plain_base=8 * N_BYTES).terms.handling == 0.0


def test_equal_models_see_no_shift() -> None:
    assert evidence(plain_tuned=PLAIN_BASE, tuned=BASE).terms.score == 0.0


def test_poor_handling_does_not_make_a_negative_shift_better() -> None:
    found = evidence(base=700, tuned=600).terms
    assert found.score == found.shift == pytest.approx(-0.7)


@pytest.mark.parametrize("missing", [np.inf, np.nan])
@pytest.mark.parametrize("field", ["base", "tuned"])
def test_prompts_that_do_not_fit_do_not_count(field: str, missing: float) -> None:
    n_bytes = np.array([100.0, 50.0, 80.0])
    partial = evidence(3, n_bytes=n_bytes, **{field: np.array([170.0, missing, 190.0])})
    whole = evidence(2, n_bytes=n_bytes[[0, 2]], **{field: np.array([170.0, 190.0])})
    assert partial.n_prompts == 2
    assert list(map(float, partial.terms)) == pytest.approx(list(map(float, whole.terms)))


def test_nothing_is_known_where_no_prompt_fits() -> None:
    [found] = estimated(evidence(tuned=np.inf))
    assert np.isnan(found.score.value)
    assert found.score.ci95 is None
    assert (
        Gates().why_excluded(evidence(tuned=np.inf), n_changed=4)
        == "usable for only 0 of 4 prompts"
    )


def test_long_prompts_weigh_as_much_as_they_are_long() -> None:
    two = evidence(2, n_bytes=[300, 100], plain_tuned=[100, 100], plain_base=[100, 100],
                   tuned=[400, 100], base=[100, 100])  # fmt: skip
    assert two.terms.shift == pytest.approx(300 / 400)


def test_the_interval_holds_the_value_and_one_prompt_gives_none() -> None:
    varied = np.random.default_rng(1).normal(TUNED, 20, 40)
    [found] = estimated(evidence(40, tuned=varied))
    for term in (found.shift, found.handling, found.score):
        assert term.ci95 is not None
        assert term.ci95.low <= term.value <= term.ci95.high
    assert found.shift.ci95 != (found.shift.value, found.shift.value)
    [single] = estimated(evidence(1))
    assert single.score.ci95 is None


def test_the_interval_of_the_shift_is_that_of_a_mean() -> None:
    rng = np.random.default_rng(2)
    [found] = estimated(evidence(400, tuned=rng.normal(TUNED, 20, 400)))
    assert found.shift.ci95 is not None
    # Normal theory: 20 bits over √400 prompts over 100 bytes, times 1.96 each way; to a tenth, as
    # there are 500 resamples.
    assert found.shift.ci95.high - found.shift.ci95.low == pytest.approx(2 * 0.0196, rel=0.1)


def test_the_shares_of_the_best_sum_to_one_over_those_that_may_be() -> None:
    rng = np.random.default_rng(3)
    several = [evidence(30, tuned=rng.normal(TUNED + extra, 20, 30)) for extra in (0, 8, 200)]
    shares = [one.best_share for one in estimated(*several, eligible=[True, True, False])]
    assert shares[2] == 0.0
    assert shares[0] + shares[1] == pytest.approx(1.0)
    assert 0 < shares[0] < shares[1]
    none = estimated(*several, eligible=[False, False, False])
    assert [one.best_share for one in none] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "n_changed", "why"),
    [
        ({}, 4, None),
        ({}, 0, "leaves every prompt as it is"),
        ({"base": [np.inf, np.inf, np.nan, 160]}, 4, "usable for only 1 of 4 prompts"),
        ({"base": [np.inf, np.inf, 160, 160]}, 4, None),
        ({"base": 500}, 4, "the base model cannot handle it (0.46 is below 0.50)"),
        ({"base": 500, "has_base": False}, 4, "the tuned model cannot handle it"),
        ({"fidelity": 0.4}, 4, "too little comes back (0.40 is below 0.50)"),
    ],
)
def test_a_conjugation_is_excluded_for_a_reason(
    changes: dict[str, Any], n_changed: int, why: str | None
) -> None:
    found = Gates().why_excluded(evidence(**changes), n_changed=n_changed)
    assert found == why or (why is not None and found is not None and found.startswith(why))


def test_the_gates_can_be_moved() -> None:
    assert Gates(min_handling=0.4).why_excluded(evidence(base=500), n_changed=4) is None
    assert Gates(min_fidelity=0.95).why_excluded(evidence(), n_changed=4) is not None


@given(st.floats(0, 500), st.floats(0, 500), st.floats(-200, 200))
def test_what_both_models_need_alike_does_not_shift(base: float, tuned: float, both: float) -> None:
    one = evidence(base=base, tuned=tuned).terms.shift
    other = evidence(base=base + both, tuned=tuned + both).terms.shift
    assert one == pytest.approx(other, abs=1e-9)  # sums of floats up to a thousand


def test_no_conjugations_have_no_estimates() -> None:
    assert estimate([], rng=np.random.default_rng(0)) == []
