from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import t as student

from palimpsest.stats import bootstrap as stats_bootstrap
from palimpsest.stats.bootstrap import (
    Array,
    bootstrap_means,
    expanded_confidence,
    percentile_interval,
)


def generator() -> np.random.Generator:
    return np.random.default_rng(20)


def width(values: Array) -> float:
    low, high = percentile_interval(values)
    return high - low


@pytest.mark.slow
@pytest.mark.parametrize("many", [0, 500], ids=["clusters counted", "counts drawn"])
def test_resamples_follow_the_distribution_over_all_ways_to_draw_the_clusters(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats_bootstrap, "_MANY_PATTERNS", many)
    columns = np.array([[1.0], [0.0], [0.0], [1.0], [1.0], [0.0]])
    clusters = np.array(["a", "a", "a", "b", "c", "c"])
    groups = [columns[clusters == name, 0] for name in "abc"]
    every = np.array(
        [
            np.concatenate([groups[i] for i in draw]).mean()
            for draw in itertools.product(range(3), repeat=3)
        ]
    )
    n = 20_000
    drawn = bootstrap_means(columns, clusters, rng=generator(), n_resamples=n)[:, 0]
    for value in np.unique(every):
        expected = np.mean(np.isclose(every, value))
        # Four standard errors of a share.
        tolerance = 4 * np.sqrt(expected * (1 - expected) / n)
        assert np.mean(np.isclose(drawn, value)) == pytest.approx(expected, abs=tolerance)


@pytest.mark.slow
def test_with_one_row_a_cluster_it_agrees_with_scipys_bootstrap() -> None:
    values = generator().normal(size=80)
    ours = bootstrap_means(values[:, None], range(80), rng=generator(), n_resamples=20_000)[:, 0]
    theirs = scipy_bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=generator()
    ).confidence_interval
    # A quantile at 0.025 of 20 000 draws has a standard error of about 0.003 here.
    assert percentile_interval(ours) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_the_order_of_the_rows_changes_nothing() -> None:
    rng = generator()
    columns, clusters = rng.random((90, 2)) < 0.6, rng.integers(0, 30, 90)
    order = rng.permutation(90)
    first = bootstrap_means(columns, clusters, rng=generator(), n_pseudo=2)
    second = bootstrap_means(columns[order], clusters[order], rng=generator(), n_pseudo=2)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("n_pseudo", [0.0, 2.0])
def test_repeating_the_rows_of_each_cluster_does_not_narrow_the_interval(n_pseudo: float) -> None:
    columns, clusters = generator().random((50, 2)) < 0.7, np.arange(50)
    once = bootstrap_means(columns, clusters, rng=generator(), n_pseudo=n_pseudo)
    often = bootstrap_means(
        np.repeat(columns, 4, axis=0), np.repeat(clusters, 4), rng=generator(), n_pseudo=n_pseudo
    )
    assert np.allclose(once, often)
    as_if_independent = bootstrap_means(
        np.repeat(columns, 4, axis=0), range(200), rng=generator(), n_pseudo=n_pseudo
    )
    assert width(as_if_independent[:, 0]) < 0.6 * width(once[:, 0])


def test_clusters_that_agree_within_widen_the_interval() -> None:
    # 40 clusters of 5 equal rows carry the information of 40 rows: √5 times the width.
    columns = np.repeat(generator().random((40, 1)) < 0.5, 5, axis=0)
    clustered = bootstrap_means(columns, np.repeat(np.arange(40), 5), rng=generator())
    single = bootstrap_means(columns, range(200), rng=generator())
    assert width(clustered[:, 0]) / width(single[:, 0]) == pytest.approx(np.sqrt(5), rel=0.1)


@pytest.mark.parametrize("everything", [0.0, 1.0])
def test_only_pseudo_clusters_keep_width_where_all_answers_are_equal(everything: float) -> None:
    columns = np.full((20, 1), everything)
    assert width(bootstrap_means(columns, range(20), rng=generator())[:, 0]) == 0
    low, high = percentile_interval(
        bootstrap_means(columns, range(20), rng=generator(), n_pseudo=2)[:, 0]
    )
    assert low <= everything <= high
    assert high - low >= 0.05


def test_pseudo_clusters_vanish_in_a_large_sample() -> None:
    columns = generator().random((2_000, 1)) < 0.3
    with_it = bootstrap_means(columns, range(2_000), rng=generator(), n_pseudo=2)
    without = bootstrap_means(columns, range(2_000), rng=generator())
    # Four standard errors of two quantiles of 10 000 draws with deviation 0.01.
    assert percentile_interval(with_it[:, 0]) == pytest.approx(
        percentile_interval(without[:, 0]), abs=0.002
    )


@pytest.mark.slow
@pytest.mark.parametrize(("n_pseudo", "least", "most"), [(0.0, 0.2, 0.45), (2.0, 0.94, 1.0)])
def test_pseudo_clusters_mend_the_coverage_at_the_boundary(
    n_pseudo: float, least: float, most: float
) -> None:
    # The figures in the docstring of the module: 99.8 against 0.2 %, 100 examples.
    rng, n_covered, n_samples = generator(), 0, 300
    for _ in range(n_samples):
        columns = rng.random((100, 2)) < [0.998, 0.002]
        means = bootstrap_means(columns, range(100), rng=rng, n_resamples=400, n_pseudo=n_pseudo)
        low, high = percentile_interval(means[:, 0] - means[:, 1])
        n_covered += low <= 0.996 <= high
    # Long runs give 0.33 and 0.98; the standard errors of 300 samples are 0.027 and 0.008.
    assert least <= n_covered / n_samples <= most


def test_one_seed_gives_one_result_in_blocks_or_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = generator().random((40, 2))
    at_once = bootstrap_means(columns, range(40), rng=generator(), n_resamples=500)
    monkeypatch.setattr("palimpsest.stats.bootstrap._BLOCK", 1_000)
    in_blocks = bootstrap_means(columns, range(40), rng=generator(), n_resamples=500)
    assert at_once.shape == in_blocks.shape == (500, 2)
    # Products of matrices may be summed in another order.
    assert np.allclose(at_once, in_blocks, rtol=1e-12)


def test_a_thousand_examples_and_ten_thousand_resamples_take_well_under_a_second() -> None:
    columns = generator().random((1_000, 4)) < 0.5
    started = time.process_time()
    bootstrap_means(columns, range(1_000), rng=generator(), n_resamples=10_000, n_pseudo=2)
    # Measured: 0.02 s. Processor time, so that a busy machine does not fail the test.
    assert time.process_time() - started < 0.5


def test_the_ends_of_a_percentile_interval_are_attained_and_may_leave_infinities_outside() -> None:
    values = np.concatenate([[-np.inf] * 2, np.arange(96.0), [np.inf] * 2])
    assert percentile_interval(values) == (0.0, 95.0)
    assert percentile_interval([3.0]) == (3.0, 3.0)


@pytest.mark.parametrize(
    ("columns", "clusters", "n_pseudo", "message"),
    [
        (np.empty((0, 2)), [], 0, "at least one row"),
        (np.ones((3, 1)), [1, 2], 0, "one cluster a row"),
        (np.ones(3), [1, 2, 3], 0, "n_columns"),
        (np.full((2, 1), 1.5), [1, 2], 1, "between 0 and 1; got values from 1.5"),
    ],
)
def test_data_that_cannot_be_resampled_are_refused(
    columns: Array, clusters: list[int], n_pseudo: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_means(columns, clusters, rng=generator(), n_pseudo=n_pseudo)


@pytest.mark.slow
def test_imaginary_clusters_weigh_the_same_however_the_resamples_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.column_stack([np.full(20, 0.9), np.linspace(0.2, 0.4, 20)])

    def means(many: int) -> Array:
        monkeypatch.setattr(stats_bootstrap, "_MANY_PATTERNS", many)
        return bootstrap_means(values, range(20), rng=generator(), n_resamples=20_000, n_pseudo=2.0)

    counted, drawn = means(0), means(500)
    # Four standard errors of a mean, and of a standard deviation, over 20,000 resamples.
    error = 4 * drawn.std(axis=0) / np.sqrt(20_000)
    assert np.all(np.abs(counted.mean(axis=0) - drawn.mean(axis=0)) < np.sqrt(2) * error)
    assert np.all(np.abs(counted.std(axis=0) - drawn.std(axis=0)) < np.sqrt(2) * error)


def test_imaginary_clusters_that_toss_coins_are_those_that_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = (generator().random((60, 3)) < (0.98, 0.5, 0.1)).astype(np.float64)
    drawn = {}
    for many in (9, 2):
        monkeypatch.setattr(stats_bootstrap, "_MANY_COLUMNS", many)
        drawn[many] = bootstrap_means(
            columns, range(60), rng=generator(), n_resamples=40_000, n_pseudo=2
        )
    listed, tossed = drawn[9], drawn[2]
    # Means and spreads of 40 000 draws of a deviation of about 0.05.
    assert tossed.mean(axis=0) == pytest.approx(listed.mean(axis=0), abs=0.002)
    assert np.cov(tossed.T) == pytest.approx(np.cov(listed.T), abs=0.0001)


def test_twenty_columns_at_the_boundary_keep_an_honest_width() -> None:
    columns = np.ones((100, 20))
    means = bootstrap_means(columns, range(100), rng=generator(), n_pseudo=2)
    # With 100 of 100, Wilson excludes less than 0.963.
    assert all(0.94 < percentile_interval(column).low < 0.98 for column in means.T)


@pytest.mark.parametrize("many", [0, 500], ids=["clusters counted", "counts drawn"])
def test_every_resample_with_coins_has_as_many_clusters_as_there_are(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats_bootstrap, "_MANY_PATTERNS", many)
    columns = np.zeros((40, 12))
    columns[:, 0] = 1  # 40 real clusters are right here; coins take half of theirs away
    means = bootstrap_means(columns, range(40), rng=generator(), n_resamples=2_000, n_pseudo=2)
    counts = means * 40
    assert np.allclose(counts, counts.round())
    assert counts[:, 0].mean() == pytest.approx(40 * 41 / 42, abs=0.1)


@pytest.mark.parametrize("n", [5, 20])
def test_the_expanded_interval_of_a_normal_mean_is_students(n: int) -> None:
    # Hesterberg (2015), section 3.3: for a symmetric mean the two agree.
    values = np.random.default_rng(n).normal(size=n)
    values = np.concatenate([values, -values])  # symmetric, of 2n
    means = bootstrap_means(values[:, None], range(2 * n), rng=generator(), n_resamples=40_000)
    low, high = percentile_interval(means[:, 0], confidence=expanded_confidence(2 * n))
    half = student.ppf(0.975, 2 * n - 1) * values.std(ddof=1) / math.sqrt(2 * n)
    # A fiftieth for the noise of the outer resamples; of 10 values means are not quite normal.
    assert (low, high) == pytest.approx((-half, half), rel=0.02 + 0.3 / n)


def test_of_one_cluster_the_expanded_interval_holds_all_resamples() -> None:
    assert expanded_confidence(1) == 1.0
    assert expanded_confidence(3) < 1.0
