r"""Which interval of ĝ holds with few prompts? ``python -m experiments.inference_intervals``.

Base and tuned models are mixed in shares of 0, 0.1, 0.5, 0.9 and 1, prompt by prompt (*tokens*) or
with each prompt answered by one of the two (*sequences*), from masses that were measured: the
Rosetta pair's on 200 English prompts, Gemma's (``tables/inference-gemma.csv``) on 60 English and 60
Dutch ones. From each mixture samples of n prompts are drawn; counted is how often a 95 % interval
holds the ĝ of all prompts. The intervals, of ĝ = I / (R + I) with the means R and I:

- *percentile*, *BCa*: of the bootstrap over prompts;
- *expanded*: percentiles at :func:`~palimpsest.stats.expanded_confidence`;
- *delta*: Student's t of log(I / R), with the variance of its linear part;
- *bootstrap-t*: the same, with the quantiles of the studentised resamples in place of t;
- *two pseudo*: percentiles of a bootstrap with two pseudo-clusters, as
  :mod:`palimpsest.judging.inference` takes them.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from experiments.inference_known import known
from experiments.recommend_check import TABLES, Array
from scipy.stats import norm
from scipy.stats import t as student

from palimpsest.lm.models import TellsNextTokens, load_model
from palimpsest.lm.suites import load_suite
from palimpsest.stats import N_PSEUDO, expanded_confidence

SHARES = (0.0, 0.1, 0.5, 0.9, 1.0)
N_PROMPTS = (10, 20, 40, 80)
N_RESAMPLES = 1000
_TINY = 1e-12

Ends = tuple[float, float]


class Population(NamedTuple):
    """Right and intruding mass of both models on the same prompts; (prompts, 2) each."""

    name: str
    base: Array
    tuned: Array

    def mixed(self, share: float) -> Array:
        """Return the masses of a mixture."""
        return (1 - share) * self.base + share * self.tuned

    def sample(self, share: float, how: str, n: int, rng: np.random.Generator) -> Array:
        """Return the masses of n prompts, drawn with replacement."""
        rows = rng.integers(len(self.base), size=n)
        if how == "tokens":
            return np.asarray(self.mixed(share)[rows])
        from_tuned = rng.random(n) < share
        return np.where(from_tuned[:, None], self.tuned[rows], self.base[rows])


def populations() -> Iterator[Population]:
    """Yield Rosetta's, measured now, and Gemma's from its table."""
    base, tuned = (load_model(f"rosetta:{role}") for role in ("base", "tuned"))
    assert isinstance(base, TellsNextTokens)
    assert isinstance(tuned, TellsNextTokens)
    found = known(base, tuned, load_suite("rosetta:n=50,languages=en"))
    yield Population("rosetta", *(np.array(each)[:, :2] for each in (found.base, found.tuned)))
    with (TABLES / "inference-gemma.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for via in dict.fromkeys(row["via"] for row in rows):
        mine = [row for row in rows if row["via"] == via]
        sides = (
            [[float(row[f"{role}_right"]), float(row[f"{role}_intruding"])] for row in mine]
            for role in ("base", "tuned")
        )
        yield Population(f"gemma, {via}", *map(np.array, sides))


def g_of(masses: Array) -> Array:
    """Return ĝ of prompts; (..., prompts, 2) → (...)."""
    sums = masses.sum(axis=-2)
    return np.asarray(sums[..., 1] / np.maximum(sums.sum(axis=-1), _TINY))


def intervals(masses: Array, rng: np.random.Generator) -> Mapping[str, Ends]:
    """Return every interval of ĝ from one sample; (prompts, 2)."""
    n = len(masses)
    drawn = masses[rng.integers(n, size=(N_RESAMPLES, n))]
    resampled = g_of(drawn)
    imaginary = np.arange(n) < rng.binomial(n, N_PSEUDO / (n + N_PSEUDO), size=(N_RESAMPLES, 1))
    coins = rng.integers(0, 2, size=drawn.shape)
    quantile = float(student.ppf(0.975, n - 1))
    log_odds, error = _log_odds(masses)
    each, errors = _log_odds(drawn)
    low, high = np.quantile((each - log_odds) / np.maximum(errors, 1e-9), [0.025, 0.975])
    return {
        "percentile": _ends(resampled),
        "BCa": _accelerated(masses, resampled),
        "expanded": _ends(resampled, expanded_confidence(n)),
        "delta": _shares(log_odds - quantile * error, log_odds + quantile * error),
        "bootstrap-t": _shares(log_odds - high * error, log_odds - low * error),
        "two pseudo": _ends(g_of(np.where(imaginary[..., None], coins, drawn))),
    }


def _ends(values: Array, confidence: float = 0.95) -> Ends:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _shares(low: float | Array, high: float | Array) -> Ends:
    return float(1 / (1 + np.exp(-low))), float(1 / (1 + np.exp(-high)))


def _log_odds(masses: Array) -> tuple[Array, Array]:
    """Return log(I / R) and its standard error; (..., prompts, 2) → (...) twice."""
    means = masses.mean(axis=-2) + _TINY
    parts = masses / means[..., None, :]
    errors = (parts[..., 1] - parts[..., 0]).std(axis=-1, ddof=1) / np.sqrt(masses.shape[-2])
    return np.log(means[..., 1] / means[..., 0]), errors


def _accelerated(masses: Array, resampled: Array) -> Ends:
    """Return the BCa interval (Efron, JASA 82, 1987, 171–185)."""
    value = g_of(masses)
    left_out = masses.sum(axis=0) - masses
    without = left_out[:, 1] / np.maximum(left_out.sum(axis=1), _TINY)
    away = without.mean() - without
    below = np.mean(resampled < value) + np.mean(resampled == value) / 2
    bias = norm.ppf(np.clip(below, 1e-3, 1 - 1e-3))
    acceleration = (away**3).sum() / (6 * (away**2).sum() ** 1.5 + 1e-300)
    moved = bias + norm.ppf([0.025, 0.975])
    low, high = np.quantile(resampled, norm.cdf(bias + moved / (1 - acceleration * moved)))
    return float(low), float(high)


def report(n_samples: int) -> str:
    """Return coverage, lowest and mean over mixtures, and mean width, in Markdown."""
    rng = np.random.default_rng(0)
    held: dict[tuple[int, str], list[float]] = defaultdict(list)
    widths: dict[tuple[int, str], list[float]] = defaultdict(list)
    for population in populations():
        mixtures = [(share, how) for share in SHARES for how in ("tokens", "sequences")]
        for share, how in mixtures:
            if share in {0.0, 1.0} and how == "sequences":  # the same as by tokens
                continue
            truth = float(g_of(population.mixed(share)))
            for n in N_PROMPTS:
                found = [
                    intervals(population.sample(share, how, n, rng), rng) for _ in range(n_samples)
                ]
                for name in found[0]:
                    ends = [each[name] for each in found]
                    held[n, name].append(sum(a <= truth <= b for a, b in ends) / n_samples)
                    widths[n, name].append(sum(b - a for a, b in ends) / n_samples)
    lines = [
        f"Coverage over {len(held[N_PROMPTS[0], 'percentile'])} mixtures, {n_samples} samples "
        "each: lowest, mean (mean width).",
        "",
        f"| interval | {' | '.join(f'{n} prompts' for n in N_PROMPTS)} |",
        f"|---|{'---|' * len(N_PROMPTS)}",
    ]
    for name in dict.fromkeys(name for _, name in held):
        figures = [
            (min(held[n, name]), np.mean(held[n, name]), np.mean(widths[n, name]))
            for n in N_PROMPTS
        ]
        cells = [f"{lowest:.2f}, {mean:.2f} ({width:.2f})" for lowest, mean, width in figures]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n-samples", type=int, default=200)
    sys.stdout.write(report(parser.parse_args().n_samples))


if __name__ == "__main__":
    main()
