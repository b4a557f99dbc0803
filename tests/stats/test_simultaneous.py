from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from palimpsest.stats.bootstrap import Array, bootstrap_means
from palimpsest.stats.simultaneous import simultaneous_intervals


def generator() -> np.random.Generator:
    return np.random.default_rng(31)


def widths(draws: Array) -> list[float]:
    [found] = simultaneous_intervals([draws])
    return [high - low for low, high in found]


def test_one_figure_alone_has_the_interval_of_a_normal_distribution() -> None:
    [width] = widths(generator().normal(size=(40_000, 1)))
    # A quantile of 40 000 draws has a standard error of about 0.01 here, and there are two ends.
    assert width == pytest.approx(2 * norm.ppf(0.975), abs=0.08)


def test_independent_figures_have_the_intervals_of_sidak() -> None:
    n = 12
    found = widths(generator().normal(size=(40_000, n)))
    sidak = norm.ppf((1 + 0.95 ** (1 / n)) / 2)
    assert found == pytest.approx([2 * sidak] * n, rel=0.03)  # as above, and n spreads


def test_figures_that_move_together_need_no_more_than_one() -> None:
    together = np.repeat(generator().normal(size=(40_000, 1)), 12, axis=1)
    assert widths(together) == pytest.approx([2 * norm.ppf(0.975)] * 12, abs=0.08)


def test_a_figure_that_does_not_vary_has_no_width_and_widens_no_other() -> None:
    draws = generator().normal(size=(5_000, 1))
    constant = np.full((5_000, 1), 0.25)
    [[alone]] = simultaneous_intervals([draws])
    [[beside, still]] = simultaneous_intervals([np.hstack([draws, constant])])
    assert beside == alone
    assert tuple(still) == (0.25, 0.25)


def test_skewed_figures_keep_their_shape_and_their_limits() -> None:
    draws = generator().binomial(50, 0.98, size=(20_000, 6)) / 50
    [found] = simultaneous_intervals([draws])
    for low, high in found:
        assert high == 1
        assert 0.98 - low > 1.9 * (high - 0.98)


def test_sets_keep_their_figures_apart() -> None:
    one, two = generator().normal(1, 0.1, (2_000, 2)), generator().normal(5, 0.1, (2_000, 3))
    first, second = simultaneous_intervals([one, two])
    assert [round(low + high) / 2 for low, high in first] == [1, 1]
    assert [round(low + high) / 2 for low, high in second] == [5, 5, 5]


def test_sets_of_other_numbers_of_resamples_are_refused() -> None:
    with pytest.raises(ValueError, match="as many resamples"):
        simultaneous_intervals([np.zeros((5, 1)), np.zeros((6, 1))])


def related(rng: np.random.Generator, n: int, accuracies: Array, together: float) -> Array:
    """Draw right and wrong of models that find mostly the same examples hard."""
    shared = rng.normal(size=(n, 1))
    hidden = np.sqrt(together) * shared + np.sqrt(1 - together) * rng.normal(
        size=(n, len(accuracies))
    )
    right: Array = (hidden < norm.ppf(accuracies)).astype(np.float64)
    return right


@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize(
    "accuracies",
    [np.linspace(0.3, 0.8, 12), np.r_[np.full(8, 0.98), np.full(4, 0.05)]],
    ids=["in the middle", "at the boundary"],
)
def test_all_accuracies_and_falls_are_covered_together(accuracies: Array, n: int) -> None:
    rng, n_samples = generator(), 200
    hits: dict[str, list[bool]] = {"accuracies": [], "falls": []}
    for _ in range(n_samples):
        sample = related(rng, n, accuracies, together=0.6)
        means = bootstrap_means(sample, range(n), rng=rng, n_resamples=1_000, n_pseudo=2)
        [found] = simultaneous_intervals([means])
        hits["accuracies"].append(
            all(low <= true <= high for (low, high), true in zip(found, accuracies, strict=True))
        )
        [falls] = simultaneous_intervals([means[:, :1] - means[:, 1:]])
        true_falls = accuracies[0] - accuracies[1:]
        hits["falls"].append(
            all(low <= true <= high for (low, high), true in zip(falls, true_falls, strict=True))
        )
    for name, hit in hits.items():
        # Long runs give 0.93 to 0.99; two standard errors of 200 samples are 0.035.
        assert np.mean(hit) >= 0.895, (name, np.mean(hit))
