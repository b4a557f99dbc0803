"""Bets are fair under the claim, whenever one stops; what they do not bet down holds the truth."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy.stats import beta
from tests.examples import examples

from palimpsest.stats.evidence import (
    anytime_p_value,
    coin_log_wealth,
    log_wealth,
    mean_sequence,
    share_log_wealth,
    share_sequence,
)

counts = st.integers(0, 60)
Side = Literal["greater", "less"]


@given(counts, counts)
@examples(30)
def test_the_wealth_of_coins_is_the_integral_over_all_bets(lost: int, gained: int) -> None:
    """By quadrature over chances above ½, by odds: θ = ½ + u²/2 takes the pole away."""

    def bet(u: float) -> float:
        chance = 0.5 + u * (1 - u / 2)
        density = 2 * beta.pdf(chance, 0.5, 0.5) * (1 - u)
        return float((2 * chance) ** lost * (2 - 2 * chance) ** gained * density)

    # 1 − θ = (1 − u)² / 2, so the density's pole at 1 is 1 / (1 − u), and the slope cancels it.
    expected, _ = integrate.quad(bet, 0, 1, limit=200)
    assert math.exp(coin_log_wealth(lost, gained)) == pytest.approx(expected, rel=1e-6)


def test_thousands_of_gains_leave_nearly_nothing_and_join_what_fewer_leave() -> None:
    wealth = coin_log_wealth(np.zeros(3000), np.arange(3000))
    assert (np.diff(wealth) < 0).all()
    assert wealth[-1] == pytest.approx(math.log(2 / (math.pi * 0.5) * 0.5 / 3000), abs=1.5)
    found = coin_log_wealth([10, 10, 10], [700, 2000, 10**6])
    assert (found < 0).all()
    assert coin_log_wealth(10**6, 10) > 10**5


@given(counts, counts, st.floats(0.0, 0.5))
@examples(60)
def test_a_coin_makes_nobody_richer_on_average(lost: int, gained: int, chance: float) -> None:
    """A supermartingale, step by step: a martingale for the fair coin, below it for less."""
    now = coin_log_wealth(lost, gained)
    up, down = coin_log_wealth(lost + 1, gained), coin_log_wealth(lost, gained + 1)
    mean = chance * math.exp(up - now) + (1 - chance) * math.exp(down - now)
    assert mean <= 1 + 1e-9
    fair = 0.5 * (math.exp(up - now) + math.exp(down - now))
    assert fair == pytest.approx(1, abs=1e-9)


@given(
    st.lists(st.integers(0, 30), min_size=5, max_size=5),
    st.floats(0.01, 0.99),
    st.sampled_from(["greater", "less"]),
)
@examples(60)
def test_bets_on_a_mean_are_fair_where_it_is_that_and_lose_where_it_is_less(
    seen: list[int], mean: float, side: Side
) -> None:
    values = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    now = log_wealth(values, seen, low=0, high=1, mean=mean, side=side)
    # Any distribution with that mean: here on the two ends, and on all five values.
    for chances in ([1 - mean, 0, 0, 0, mean], _with_mean(values, mean)):
        grown = [
            math.exp(log_wealth(values, seen + one, low=0, high=1, mean=mean, side=side) - now)
            for one in np.eye(5)
        ]
        assert np.dot(chances, grown) == pytest.approx(1, abs=1e-9)
    away = 0.0 if side == "greater" else 1.0
    there = (seen + np.eye(5))[0 if side == "greater" else -1]
    assert log_wealth(values, there, low=0, high=1, mean=mean, side=side) <= now + 1e-12, away


def _with_mean(values: np.ndarray, mean: float) -> np.ndarray:
    """Return chances of the values, tilted to a mean."""
    low, high = -200.0, 200.0
    for _ in range(200):
        middle = (low + high) / 2
        weights = np.exp(middle * (values - mean))
        weights /= weights.sum()
        low, high = (middle, high) if weights @ values < mean else (low, middle)
    return np.asarray(weights)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=80))
@examples(40)
def test_one_side_mirrors_the_other(rows: list[tuple[bool, bool, bool]]) -> None:
    values, number = np.array([-1.0, 0.0, 1.0]), [sum(map(sum, rows)), len(rows), 7]
    one = log_wealth(values, number, low=-1, high=1, mean=0.05, side="greater")
    other = log_wealth(-values, number, low=-1, high=1, mean=-0.05, side="less")
    assert one == pytest.approx(other)


@given(st.lists(st.integers(0, 40), min_size=3, max_size=3), st.floats(0.01, 0.2))
@examples(40)
def test_a_sequence_holds_what_is_not_bet_down_and_nothing_else(
    seen: list[int], alpha: float
) -> None:
    values = np.array([0.0, 0.3, 1.0])
    low, high = mean_sequence(values, [seen], low=0, high=1, alpha=alpha)
    most = math.log(2 / alpha)

    def wealth(mean: float, side: Side) -> float:
        return float(log_wealth(values, seen, low=0, high=1, mean=mean, side=side))

    step = 1e-6
    if 0.001 < low[0] < 0.999:
        assert wealth(low[0] - step, "greater") > most > wealth(low[0] + step, "greater")
    if 0.001 < high[0] < 0.999:
        assert wealth(high[0] + step, "less") > most > wealth(high[0] - step, "less")
    if sum(seen):
        mean = np.dot(values, seen) / sum(seen)
        assert low[0] <= mean <= high[0], "the sample's own mean is never bet down"


def test_without_an_observation_nothing_is_known() -> None:
    low, high = mean_sequence([0.0, 1.0], [[0, 0]], low=0, high=1)
    assert (low[0], high[0]) == (0, 1)
    assert coin_log_wealth(0, 0) == pytest.approx(0)
    assert share_sequence([1.0], [1.0], [0]) == (None, None)


def test_many_samples_at_once_are_those_one_by_one() -> None:
    rng = np.random.default_rng(0)
    values, number = np.array([-1.0, 0.0, 1.0]), rng.integers(0, 50, size=(4, 3, 3))
    together = log_wealth(values, number, low=-1, high=1, mean=0.05, side="less")
    low, _ = mean_sequence(values, number, low=-1, high=1)
    for place in np.ndindex(4, 3):
        alone = log_wealth(values, number[place], low=-1, high=1, mean=0.05, side="less")
        assert together[place] == pytest.approx(float(alone))
        assert low[place] == mean_sequence(values, number[place][None], low=-1, high=1)[0][0]


def test_the_share_of_a_fall_by_hand() -> None:
    """All 100 fell and 80 came back: the sequence holds 0.8, and the claims agree with it."""
    gain, fall = [1.0, 0.0], [1.0, 1.0]
    found = share_sequence(gain, fall, [80, 20])
    assert found.low is not None
    assert found.high is not None
    assert 0.6 < found.low < 0.8 < found.high < 0.95
    for share, side in ((0.5, "greater"), (0.99, "less")):
        bet: Side = "greater" if side == "greater" else "less"
        assert share_log_wealth(gain, fall, [80, 20], share=share, side=bet) > math.log(40)
    # Without a fall the share is anything.
    assert share_sequence([0.0], [0.0], [500]) == (None, None)


def test_a_p_value_is_one_over_the_wealth_of_both_sides() -> None:
    assert anytime_p_value([[math.log(79.0)], [math.log(1.0)]]) == pytest.approx([1 / 40])
    assert anytime_p_value([[-5.0], [-5.0]]) == pytest.approx([1.0])


def _coverage(draw: str, n_runs: int, n: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return how often the sequence ever misses the mean, looked at after every example."""
    values, chances = {
        "coin": ([0.0, 1.0], [0.5, 0.5]),
        "rare": ([0.0, 1.0], [0.97, 0.03]),
        "difference": ([-1.0, 0.0, 1.0], [0.05, 0.85, 0.1]),
        "graded": ([0.0, 0.2, 0.7, 1.0], [0.4, 0.3, 0.2, 0.1]),
    }[draw]
    low, high = min(values), max(values)
    mean = float(np.dot(values, chances))
    drawn = rng.choice(len(values), size=(n_runs, n), p=chances)
    seen = np.cumsum(np.eye(len(values))[drawn], axis=1)
    missed = [
        (log_wealth(values, seen, low=low, high=high, mean=mean, side=side) >= math.log(40)).any(1)
        for side in ("greater", "less")
    ]
    return float(missed[0].mean()), float(missed[1].mean())


@pytest.mark.slow
@pytest.mark.parametrize("draw", ["coin", "rare", "difference", "graded"])
def test_sequences_miss_the_truth_at_any_time_no_oftener_than_they_say(draw: str) -> None:
    n_runs = 1000
    above, below = _coverage(draw, n_runs, 300, np.random.default_rng(5))
    # 2.5 % on either side, and three standard errors of so many runs.
    most = 0.025 + 3 * math.sqrt(0.025 * 0.975 / n_runs)
    assert above <= most
    assert below <= most
    assert above + below > 0, "a sequence that never misses would be far too wide"


@pytest.mark.slow
def test_a_fair_coin_is_called_a_fall_no_oftener_than_nominal_at_any_stopping_time() -> None:
    rng, n_runs = np.random.default_rng(6), 4000
    lost = np.cumsum(rng.random((n_runs, 400)) < 0.5, axis=1)
    wealth = coin_log_wealth(lost, np.arange(1, 401) - lost)
    share = float((wealth >= math.log(40)).any(axis=1).mean())
    assert 0.005 < share <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / n_runs)
