"""Wall time until a transformer comes near the Bayes predictor: our recipe against the published.

Run it on an otherwise idle machine:

    python -m benchmarks.time_to_quality                    # about seven minutes on two cores
    python -m benchmarks.time_to_quality --problem small    # the larger problem: an hour
    python -m benchmarks.time_to_quality --quick            # a level that is reached in seconds

Quality is the share of what can be learned that is still missing,

    (L − L_mix) / (L_zero − L_mix),

with L the mean squared error on D_mix against noiseless targets over all prefixes of fresh prompts,
L_mix that of the Bayes mixture and L_zero that of predicting zero. The clock stands still while it
is measured. The published recipe is GPT-2 of 12 layers × 256, x and y as separate tokens, Adam at
1e-4, batches of 64; it is cut off at twelve times our time, or as --cut-off says.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import NamedTuple

import torch

from benchmarks.gpt2_regression import Gpt2Regression, adam_step
from palimpsest.lab.predictors import (
    Predictor,
    Transformer,
    TransformerConfig,
    predict,
    predict_zero,
)
from palimpsest.lab.problem import Problem, exact_predictors
from palimpsest.lab.training import Running, Training, pretrain


class Setting(NamedTuple):
    """A problem, what both recipes train, and the quality asked for."""

    problem: Problem
    ours: TransformerConfig
    n_steps: int
    """Of our schedule, which ends at zero."""
    level: float
    seeds: tuple[int, ...]

    @property
    def published(self) -> TransformerConfig:
        """The published transformer for the same prompts."""
        return TransformerConfig(
            n_dims=self.ours.n_dims,
            n_points=self.ours.n_points,
            width=256,
            n_layers=12,
            n_heads=8,
            architecture="published",
        )


SETTINGS = {
    "tiny": Setting(
        Problem(n_dims=4, n_tasks=4, n_exemplars=20, noise_std=0.25),
        TransformerConfig(n_dims=4, n_points=21, width=64, n_layers=3, n_heads=8),
        n_steps=560,
        level=0.06,
        seeds=(0, 1, 2),
    ),
    "small": Setting(
        Problem(n_dims=8, n_tasks=8, n_exemplars=40, noise_std=0.5),
        TransformerConfig(n_dims=8, n_points=41, width=128, n_layers=4, n_heads=8),
        n_steps=2000,
        level=0.04,
        seeds=(0,),
    ),
}
QUICK_LEVEL = 0.5
TARGET = 10.0
STEPS_BETWEEN = 20


class _ReachedError(Exception):
    """Ends our training."""


class Reached(NamedTuple):
    """When a training was measured last."""

    seconds: float
    step: int
    missing: float


class Quality:
    """Measures what is missing, and keeps a clock that stands still meanwhile."""

    def __init__(self, problem: Problem) -> None:
        self.batch = problem.batch("mix", 2048, seed=0, purpose="evaluation")
        exact = exact_predictors(problem)["mixture"]
        self._best, self._zero = self._loss(exact), self._loss(predict_zero)
        self._seconds, self._since = 0.0, time.perf_counter()

    def start(self) -> None:
        """Set the clock to zero."""
        self._seconds, self._since = 0.0, time.perf_counter()

    def measure(self, step: int, model: Predictor) -> Reached:
        """Stop the clock, measure, and let it go on."""
        self._seconds += time.perf_counter() - self._since
        missing = (self._loss(model) - self._best) / (self._zero - self._best)
        self._since = time.perf_counter()
        return Reached(self._seconds, step, missing)

    def _loss(self, predictor: Predictor) -> float:
        found = predict(predictor, self.batch.xs, self.batch.ys)
        return float((found - self.batch.targets).square().mean())


def ours(setting: Setting, quality: Quality, level: float, *, seed: int) -> Reached:
    """Train by our recipe until the level is reached, or to the end."""
    n_steps = setting.n_steps
    training = Training(
        n_steps=n_steps, learning_rate=1e-2, schedule="linear", n_warmup_steps=50, seed=seed
    )
    last = Reached(0.0, 0, 1.0)

    def measure(step: int, model: Transformer) -> None:
        nonlocal last
        last = quality.measure(step, model)
        if last.missing <= level:
            raise _ReachedError

    steps = range(STEPS_BETWEEN, n_steps + 1, STEPS_BETWEEN)
    quality.start()
    try:
        running = Running(device="cpu", measure=measure, measure_at=steps)
        pretrain(setting.problem, setting.ours, training, running=running)
    except _ReachedError:
        pass
    return last


def published(setting: Setting, quality: Quality, level: float, *, seconds: float) -> Reached:
    """Train by the published recipe until the level is reached or the time is over."""
    torch.manual_seed(0)
    model = Gpt2Regression(setting.published)
    adam = torch.optim.Adam(model.parameters(), lr=1e-4)
    quality.start()
    last, step = Reached(0.0, 0, 1.0), 0
    while last.missing > level and last.seconds < seconds:
        adam_step(model, adam, setting.problem.batch("mix", 64, seed=0, step=step))
        step += 1
        if step % STEPS_BETWEEN == 0:
            last = quality.measure(step, model)
    return last


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a level that is soon reached")
    parser.add_argument("--problem", choices=SETTINGS, default="tiny")
    parser.add_argument("--cut-off", type=float, default=12.0, help="of the peer, in times of ours")
    options = parser.parse_args()
    setting = SETTINGS[options.problem]
    level, seeds = (QUICK_LEVEL, (0,)) if options.quick else (setting.level, setting.seeds)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f} before the start; until {level:.0%} is missing"
    )
    print(f"{'':38}{'seconds':>9}{'steps':>7}{'missing':>9}")
    quality = Quality(setting.problem)
    runs = [ours(setting, quality, level, seed=seed) for seed in seeds]
    for seed, run in zip(seeds, runs, strict=True):
        _show(f"ours, seed {seed}", run)
    slowest = max(run.seconds for run in runs)
    peer = published(setting, quality, level, seconds=options.cut_off * slowest)
    _show("published recipe, transformers' GPT-2", peer)
    sign = "≥ " if peer.missing > level else ""
    print(f"ratio to our slowest: {sign}{peer.seconds / slowest:.1f} (target {TARGET:.0f})")


def _show(name: str, run: Reached) -> None:
    print(f"  {name:36}{run.seconds:9.1f}{run.step:7}{run.missing:9.1%}")


if __name__ == "__main__":
    main()
