from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples

from palimpsest.stats.guessing import adjust_for_guessing, adjusted_forgetting_interval
from palimpsest.stats.recovery import estimate_forgetting

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def simulate(
    n: int, rng: np.random.Generator, *, chance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what two models know, and what they have right by knowing or guessing."""
    kinds = rng.choice(4, size=n, p=[0.3, 0.25, 0.1, 0.35])  # both, lost, gained, neither
    known, after = np.isin(kinds, (0, 1)), np.isin(kinds, (0, 2))
    first, second = (rng.random(n) < chance for _ in range(2))
    return known, after, known | first, after | second


def test_what_was_known_is_found_again_behind_guesses() -> None:
    known, after, base, tuned = simulate(200_000, np.random.default_rng(1), chance=0.25)
    found = adjust_for_guessing(base, tuned, 0.25)
    # Standard errors are about 0.002 at this size.
    assert found.base == pytest.approx(known.mean(), abs=0.01)
    assert found.tuned == pytest.approx(after.mean(), abs=0.01)
    assert found.lost == pytest.approx((known & ~after).mean(), abs=0.01)
    assert found.gained == pytest.approx((after & ~known).mean(), abs=0.01)


@given(pairs, st.floats(0, 0.9))
@examples(60)
def test_lost_less_gained_is_the_forgetting(found: list[tuple[bool, bool]], chance: float) -> None:
    base, tuned = np.array(found).T
    adjusted = adjust_for_guessing(base, tuned, chance)
    assert adjusted.lost - adjusted.gained == pytest.approx(adjusted.forgetting, abs=1e-9)
    assert adjusted.forgetting == pytest.approx(
        (base.mean() - tuned.mean()) / (1 - chance), abs=1e-9
    )


@given(pairs)
def test_without_a_chance_nothing_is_taken_off(found: list[tuple[bool, bool]]) -> None:
    base, tuned = np.array(found).T
    adjusted = adjust_for_guessing(base, tuned, 0.0)
    assert adjusted.base == pytest.approx(base.mean())
    assert adjusted.lost == pytest.approx((base & ~tuned).mean())


def test_a_common_chance_stretches_the_interval() -> None:
    base, tuned = np.arange(100) < 80, np.arange(100) < 50
    plain = estimate_forgetting(base, tuned, range(100), rng=np.random.default_rng(3)).interval
    stretched = adjusted_forgetting_interval(
        base, tuned, 0.25, range(100), rng=np.random.default_rng(3)
    )
    assert stretched == pytest.approx((plain.low / 0.75, plain.high / 0.75))


@pytest.mark.parametrize("chance", [1.0, -0.1])
def test_a_chance_that_explains_everything_is_refused(chance: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        adjust_for_guessing([True], [False], chance)
