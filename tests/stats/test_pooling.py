from __future__ import annotations

import numpy as np
import pytest
from experiments.pooling.run import LEAST, TRUTHS, simulate
from scipy.integrate import dblquad
from scipy.special import betainc, betaln
from scipy.stats import beta

from palimpsest.stats.pooling import pooled_falls, pooled_shares

COUNTS = ([2, 3, 2, 1, 9], [10, 12, 10, 10, 15])


def posterior(cell: int, share: float) -> float:
    """Return the probability of no more than a share, by adaptive quadrature over the mean and the
    standard deviation: an own writing of the formula."""
    successes, trials = map(np.array, COUNTS)

    def weighted(of_cell: float | None) -> float:
        def density(sd: float, mean: float) -> float:
            a, b = (share * (mean * (1 - mean) / sd**2 - 1) for share in (mean, 1 - mean))
            ratios = betaln(a + successes, b + trials - successes) - betaln(a, b)
            likelihood = np.exp(np.sum(ratios))
            k, n = successes[cell], trials[cell]
            return float(
                likelihood
                / widest(mean)
                * (1 if of_cell is None else betainc(a + k, b + n - k, of_cell))
            )

        return float(dblquad(density, 1e-6, 1 - 1e-6, 1e-5, widest, epsrel=1e-5)[0])

    return weighted(share) / weighted(None)


def widest(mean: float) -> float:
    """Return the standard deviation at which the smaller parameter is a half."""
    concentration = 0.5 / min(mean, 1 - mean)
    return float(np.sqrt(mean * (1 - mean) / (concentration + 1)))


@pytest.mark.parametrize("cell", [0, 4])
def test_shares_are_those_of_adaptive_quadrature(cell: int) -> None:
    low, high = pooled_shares(*COUNTS)[cell].interval
    # Tabulated ends are off by 0.002 at most, where the density is about 3.
    assert posterior(cell, low) == pytest.approx(0.025, abs=0.006)
    assert posterior(cell, high) == pytest.approx(0.975, abs=0.006)


def test_the_interval_of_a_fall_holds_95_percent_of_draws_from_the_two_shares() -> None:
    lost, gained, n = [3, 5, 4, 20], [1, 0, 2, 1], [50, 60, 40, 50]
    found = pooled_falls(lost, gained, n)[3]
    losing = pooled_shares(lost, n)[3]
    gaining = pooled_shares(gained, np.subtract(n, lost).tolist())[3]
    assert found.mean == pytest.approx(losing.mean - gaining.mean * (1 - losing.mean))
    assert losing.interval.low - gaining.interval.high < found.interval.low < found.mean
    assert found.mean < found.interval.high < losing.interval.high


def test_many_alike_cells_draw_a_lone_one_towards_them_and_large_ones_hardly_move() -> None:
    few = pooled_falls([1] * 19 + [6], [1] * 19 + [0], [25] * 20)
    many = pooled_falls([40] * 19 + [240], [40] * 19 + [0], [1000] * 20)
    assert 0 < few[-1].mean < 0.12 < 6 / 25
    assert many[-1].mean == pytest.approx(0.2, abs=0.025)
    assert few[0].mean == pytest.approx(few[1].mean)


def test_cells_that_are_unlike_each_other_stay_where_they_are() -> None:
    found = pooled_shares([2, 50, 98], [100] * 3)
    for one, raw in zip(found, (0.02, 0.5, 0.98), strict=True):
        assert one.mean == pytest.approx(raw, abs=0.02)


def test_cells_without_a_flip_do_not_make_it_certain_that_none_can() -> None:
    one = pooled_falls([0] * 20, [0] * 20, [100] * 20)[0]
    # 2,000 examples without a flip leave a share of up to 3 / 2,000 open.
    assert one.interval.high > 0.001
    assert one.interval.low == pytest.approx(-one.interval.high, rel=0.02)


def test_a_cell_without_trials_is_what_the_others_say() -> None:
    *_, empty = pooled_shares([30, 33, 28, 31, 0], [100, 100, 100, 100, 0])
    assert empty.mean == pytest.approx(0.31, abs=0.03)
    # Wider than the mean of the four is known, narrower than a cell of 100 by itself, doubled.
    assert (
        0.05
        < empty.interval.high - empty.interval.low
        < 2 * (beta.ppf(0.975, 31, 71) - beta.ppf(0.025, 31, 71))
    )


def test_hundreds_of_thousands_of_examples_are_pooled_like_a_few() -> None:
    for one, raw in zip(
        pooled_falls([10**5, 2 * 10**5, 5 * 10**4], [1000] * 3, [10**6] * 3),
        (0.099, 0.199, 0.049),
        strict=True,
    ):
        assert one.mean == pytest.approx(raw, abs=1e-4)
        assert 0.0005 < one.interval.high - one.interval.low < 0.002  # four standard errors: 0.0015


@pytest.mark.parametrize(
    "counts", [([1, 2], [10, 10]), ([11, 1, 1], [10, 10, 10]), ([-1, 0, 0], [10, 10, 10])]
)
def test_cells_that_tell_of_no_population_are_refused(counts: tuple[list[int], list[int]]) -> None:
    with pytest.raises(ValueError, match="Pooling needs 3 cells or more"):
        pooled_shares(*counts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "truth", ["20 cells, small and large falls", "20 cells, half of them fell by 40 points"]
)
def test_intervals_hold_the_truth_of_cells_that_are_drawn_from_a_population(truth: str) -> None:
    assert truth in TRUTHS
    [row] = simulate(truth, n_runs=12, seed=1)
    # 240 cells: a standard error of 1.4 points.
    assert float(str(row["held"])) > LEAST - 0.04
    assert float(str(row["error"])) < 1.1
