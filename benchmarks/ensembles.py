"""How fast an ensemble of conjugations is: one batched call, against one conjugation at a time.

    python -m benchmarks.ensembles
    python -m benchmarks.ensembles --quick     # fewer rounds; the ratios are rough

32 rotations of one batch of prompts through a transformer of the tiny problem (d = 4, 20 exemplars,
3 layers, 64 wide). What is gained is what a call costs apart from its arithmetic, and the use of
every core: much for one prompt, little for many. Rounds alternate; each figure is the median of its
rounds. *At best* is what the operations of the one call take by a roofline
(:mod:`benchmarks.roofline`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.roofline import Machine, at_best, machine
from palimpsest.conjugation import Ensemble
from palimpsest.lab import stream
from palimpsest.lab.conjugations import symmetry_ensemble
from palimpsest.lab.predictors import Predictor, Prompt, TransformerConfig, new_transformer
from palimpsest.lab.problem import Problem

PROBLEM = Problem(n_dims=4, n_tasks=4, n_exemplars=20, noise_std=0.25)
SIZES = TransformerConfig(n_dims=4, n_points=21, width=64, n_layers=3, n_heads=2)
N_MEMBERS = 32
BATCHES = (1, 2, 4, 8, 16, 64)
TARGET = 3.0


def timed(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return the seconds that a call took, and its answer."""
    started = time.perf_counter()
    answer = run()
    return time.perf_counter() - started, answer


def compare(
    predictor: Predictor, n_prompts: int, *, rounds: int, on: Machine
) -> tuple[float, float, float]:
    """Return the median seconds together and one by one, and what the former takes at best.

    Raises:
        AssertionError: The answers differ.
    """
    batch = PROBLEM.batch("cont", n_prompts, seed=0)
    ensemble = symmetry_ensemble(
        N_MEMBERS, stream(0, "conjugations"), "rotations", n_dims=PROBLEM.n_dims
    )
    together = ensemble(predictor)
    one_by_one = Ensemble(ensemble.conjugations)(lambda prompt: predictor(*prompt))
    fast, slow = [], []
    with torch.no_grad():
        for i in range(rounds + 1):
            taken, answer = timed(lambda: together(batch.xs, batch.ys))
            other_taken, other = timed(lambda: one_by_one(Prompt(batch.xs, batch.ys)))
            # Single precision, summed in another order.
            torch.testing.assert_close(answer, other, rtol=1e-4, atol=1e-4)
            if i:  # the first round warms threads and caches
                fast.append(taken)
                slow.append(other_taken)
        floor = at_best(lambda: together(batch.xs, batch.ys), on)
    return statistics.median(fast), statistics.median(slow), floor


def main() -> None:
    """Print all ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = 3 if parser.parse_args().quick else 25
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f} before the start"
    )
    predictor = new_transformer(SIZES, seed=0)
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.05)  # at first its answers are all zero
    print(f"\n{N_MEMBERS} rotations of a batch, {SIZES.n_layers} layers × {SIZES.width}")
    print(
        f"{'prompts':>10}{'together, ms':>15}{'at best':>10}{'share':>8}{'one by one, ms':>17}"
        f"{'ratio':>8}{'target':>8}"
    )
    on = machine()
    for n_prompts in BATCHES:
        fast, slow, floor = compare(predictor, n_prompts, rounds=rounds, on=on)
        print(
            f"{n_prompts:10}{1e3 * fast:15.2f}{1e3 * floor:10.2f}{floor / fast:8.0%}"
            f"{1e3 * slow:17.2f}{slow / fast:8.1f}{TARGET:8.1f}"
        )


if __name__ == "__main__":
    main()
