"""How fast the exact predictors are: all prefixes in one pass, against anew for each prefix.

    python -m benchmarks.estimators
    python -m benchmarks.estimators --quick     # one round; the ratios are rough

1024 prompts of 40 exemplars, d = 10, n = 64 tasks: predictions at all 41 prefixes, in float64 on
all sides, equal to 1e-9. Rounds alternate; each figure is the median of its rounds. The peer that
takes prompt by prompt is asked an even sample of 64 prompts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks import per_prefix
from palimpsest.lab.predictors import DiscreteEstimator, MixtureEstimator, Predictor, RidgeEstimator
from palimpsest.lab.problem import Problem

PROBLEM = Problem(n_dims=10, n_tasks=64, n_exemplars=40)
N_PROMPTS = 1024
STRIDE = 16
TARGETS = {"batched, prefix by prefix": 4.0, "prompt by prompt": 50.0}


class Contest(NamedTuple):
    """One predictor, computed in our way and in the usual one."""

    ours: Predictor
    peer: Callable[[Tensor, Tensor], Tensor]


def contests() -> dict[str, Contest]:
    """Return the predictors that are compared."""
    weights = PROBLEM.discrete.weights
    return {
        "ridge": Contest(RidgeEstimator(1.0), lambda xs, ys: per_prefix.ridge(xs, ys, 1.0, 1.0)),
        "discrete": Contest(
            DiscreteEstimator(weights, 1.0),
            lambda xs, ys: per_prefix.discrete(xs, ys, weights, 1.0)[0],
        ),
        "mixture": Contest(
            MixtureEstimator(0.5, weights, 1.0),
            lambda xs, ys: per_prefix.mixture(xs, ys, 0.5, weights, 1.0, 1.0),
        ),
    }


def timed(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return the seconds that a call took, and its answer."""
    started = time.perf_counter()
    answer = run()
    return time.perf_counter() - started, answer


def compare(contest: Contest, *, rounds: int) -> dict[str, float]:
    """Return milliseconds a thousand prompts, by way of computing.

    Raises:
        AssertionError: The answers differ.
    """
    batch = PROBLEM.batch("mix", N_PROMPTS, seed=0, dtype=torch.float64)
    xs, ys = batch.xs, batch.ys
    some = range(0, N_PROMPTS, STRIDE)
    seconds: dict[str, list[float]] = {}
    contest.ours(xs, ys)  # threads and caches are warm from here on
    for _ in range(rounds):
        taken, answer = timed(lambda: contest.ours(xs, ys))
        seconds.setdefault("ours", []).append(taken)
        taken, other = timed(lambda: contest.peer(xs, ys))
        seconds.setdefault("batched, prefix by prefix", []).append(taken)
        torch.testing.assert_close(answer, other, rtol=1e-9, atol=1e-9)
        taken, few = timed(
            lambda: torch.cat([contest.peer(xs[i : i + 1], ys[i : i + 1]) for i in some])
        )
        seconds.setdefault("prompt by prompt", []).append(taken * STRIDE)
        torch.testing.assert_close(answer[::STRIDE], few, rtol=1e-9, atol=1e-9)
    return {name: statistics.median(times) * 1e6 / N_PROMPTS for name, times in seconds.items()}


def main() -> None:
    """Print all ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round")
    rounds = 1 if parser.parse_args().quick else 9
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f} before the start"
    )
    for name, contest in contests().items():
        each = compare(contest, rounds=rounds)
        print(f"\n{name}, 41 prefixes, d = 10, n = 64")
        print(f"{'':32}{'ms/1000 prompts':>16}{'ratio':>8}{'target':>8}")
        for way, value in each.items():
            line = f"  {way:30}{value:16.1f}"
            if way != "ours":
                line += f"{value / each['ours']:8.1f}{TARGETS[way]:8.1f}"
            print(line)


if __name__ == "__main__":
    main()
