"""Masses and ĝ of models whose share of another model is known (full size: experiments)."""

from __future__ import annotations

import numpy as np
import pytest
from experiments import inference_intervals
from experiments.inference_known import How, Known, MixedModel, coverage, g_of, known, sampled

from palimpsest.judging.inference import masses
from palimpsest.lm.models import TellsNextTokens, load_model
from palimpsest.lm.suites import load_suite

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair() -> tuple[TellsNextTokens, TellsNextTokens]:
    base, tuned = (load_model(f"rosetta:{role}") for role in ("base", "tuned"))
    assert isinstance(base, TellsNextTokens)
    assert isinstance(tuned, TellsNextTokens)
    return base, tuned


@pytest.fixture(scope="module")
def found(pair: tuple[TellsNextTokens, TellsNextTokens]) -> Known:
    return known(*pair, load_suite("rosetta:n=10,languages=en"))


@pytest.mark.parametrize("how", ["tokens", "sequences"])
def test_masses_of_a_mixture_are_the_mixture_of_the_masses(
    pair: tuple[TellsNextTokens, TellsNextTokens], found: Known, how: How
) -> None:
    truth = found.mixed(0.3)
    measured = masses(MixedModel(*pair, 0.3, how), found.openings)
    assert g_of(measured) == pytest.approx(g_of(truth), abs=1e-3)
    for one, other in zip(measured, truth, strict=True):
        # What one model finds likely enough to look at, the mixture may not: below FOLLOWED.
        assert one[:2] == pytest.approx(other[:2], abs=2e-4)


def test_g_is_the_share_of_intruded_answers_among_sampled_ones(
    pair: tuple[TellsNextTokens, TellsNextTokens], found: Known
) -> None:
    truth = found.mixed(0.5)
    outcomes = [
        outcome
        for seed in range(2)
        for outcome in sampled(
            MixedModel(*pair, 0.5, "sequences"), found.openings, np.random.default_rng(seed)
        )
    ]
    n = outcomes.count("intruded") + outcomes.count("right")
    share, g = outcomes.count("intruded") / n, g_of(truth)
    assert abs(share - g) < 3 * np.sqrt(g * (1 - g) / n)  # three standard errors


@pytest.mark.parametrize("how", ["tokens", "sequences"])
def test_intervals_of_g_hold_the_truth_about_as_often_as_they_say(found: Known, how: How) -> None:
    held = coverage(found, 0.5, how, n_prompts=60, n_samples=150, rng=np.random.default_rng(1))
    assert 0.88 <= held <= 1.0  # 0.95 less four standard errors of 150 samples


def test_every_interval_that_is_compared_holds_in_a_large_sample(found: Known) -> None:
    masses_of = [np.array(each)[:, :2] for each in (found.base, found.tuned)]
    population = inference_intervals.Population("rosetta", *masses_of)
    rng = np.random.default_rng(0)
    truth = float(inference_intervals.g_of(population.mixed(0.5)))
    sample = population.sample(0.5, "sequences", 400, rng)
    for name, (low, high) in inference_intervals.intervals(sample, rng).items():
        assert low < high, name
        # Three standard errors of 400 answers, half of each kind, around ĝ of all prompts.
        assert abs((low + high) / 2 - truth) < 3 * 0.5 / 20, name
