from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from palimpsest.lab.measuring.recovery import LossRecovery, estimate_recovery
from palimpsest.records.lab_results import Estimate

Array = npt.NDArray[np.float64]


def arms(
    rng: np.random.Generator, n: int = 300, *, recovery: float = 0.6, base_gain: float = 0.2
) -> list[Array]:
    """Squared errors of correlated arms: base 1, tuned 2, a given share of the gap recovered."""
    difficulty = rng.gamma(2.0, 0.5, (n, 1))
    means = (1.0, 2.0, 1.0 - base_gain, 2.0 - recovery)
    return [mean * difficulty * rng.gamma(4.0, 0.25, (n, 5)) for mean in means]


def estimate(parts: list[Array], n_resamples: int = 1000) -> LossRecovery:
    return estimate_recovery(*parts, rng=np.random.default_rng(1), n_resamples=n_resamples)


def test_figures_are_those_of_the_formulas() -> None:
    parts = arms(np.random.default_rng(0))
    base, tuned, base_under, tuned_under = (float(part.mean()) for part in parts)
    found = estimate(parts)
    assert found.recovery.value == pytest.approx((tuned - tuned_under) / (tuned - base))
    net = ((tuned - tuned_under) - (base - base_under)) / (tuned - base)
    assert found.net.value == pytest.approx(net)


@pytest.mark.slow
def test_the_interval_of_a_ratio_agrees_with_scipys_bootstrap() -> None:
    parts = arms(np.random.default_rng(0))
    losses = [part.mean(1) for part in parts]
    theirs = scipy_bootstrap(
        losses,
        lambda b, t, _, u, axis=-1: (t.mean(axis) - u.mean(axis)) / (t.mean(axis) - b.mean(axis)),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=5000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    ours = estimate(parts, 5000).recovery.ci95
    # Two bootstraps of 5000: the ends agree to a few hundredths of the width of 0.4.
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_a_conjugation_that_gives_the_base_as_much_recovers_nothing_net() -> None:
    found = estimate(arms(np.random.default_rng(0), 4000, recovery=0.5, base_gain=0.5))
    assert found.recovery.value == pytest.approx(0.5, abs=0.1)
    assert found.net.ci95 is not None
    assert found.net.ci95[0] < 0 < found.net.ci95[1]


def test_without_clear_forgetting_there_is_no_recovery() -> None:
    rng = np.random.default_rng(0)
    base, _, base_under, tuned_under = arms(rng)
    tuned = base * rng.gamma(20.0, 0.05, base.shape)
    found = estimate([base, tuned, base_under, tuned_under])
    assert found.recovery == found.net == Estimate(value=None)


def test_the_order_of_prompts_changes_nothing_but_rounding() -> None:
    parts = arms(np.random.default_rng(0))
    order = np.random.default_rng(3).permutation(300)
    first, second = estimate(parts), estimate([part[order] for part in parts])
    assert first.recovery.value == pytest.approx(second.recovery.value)
    assert first.recovery.ci95 == pytest.approx(second.recovery.ci95)


@pytest.mark.usefixtures("unchecked")
def test_arms_of_different_prompts_are_an_error() -> None:
    parts = arms(np.random.default_rng(0))
    with pytest.raises(ValueError, match="need one shape"):
        estimate([*parts[:3], parts[3][:200]])


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng, n = np.random.default_rng(0), 300
    held, held_net = 0, 0
    for _ in range(n):
        found = estimate(arms(rng, 200), 500)
        assert found.recovery.ci95 is not None
        assert found.net.ci95 is not None
        held += found.recovery.ci95[0] <= 0.6 <= found.recovery.ci95[1]
        held_net += found.net.ci95[0] <= 0.4 <= found.net.ci95[1]
    # 95 % less four standard errors of 1.3 points; percentile intervals of ratios fall a little
    # short of their level.
    assert min(held, held_net) / n > 0.89
