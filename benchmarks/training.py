"""Steps per second of training: the same transformer and batches, ours against Hugging Face's.

Run it on an otherwise idle machine:

    python -m benchmarks.training             # about four minutes on two cores
    python -m benchmarks.training --quick     # fewer layers and rounds; the ratios are rough

The peer is GPT-2 of transformers under Adam in float32, in the loop of the field's code. Ours is
the published transformer, which gives the same predictions at the same weights, in our own loop:
batches drawn, loss checked, gradients clipped. Rounds alternate; each figure is the median of its
rounds. The share of the peak counts the operations of the matrix products of a step (forward once,
backward twice) against a product of two large matrices, measured in the same run; that of the
roofline, what forward, backward and update take at best (:mod:`benchmarks.roofline`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import torch

from benchmarks.gpt2_regression import Gpt2Regression, adam_step
from benchmarks.roofline import Machine, at_best, machine
from palimpsest.lab.predictors import TransformerConfig, new_transformer
from palimpsest.lab.problem import Batch, Problem
from palimpsest.lab.training import Loop, Running, Source, Training
from palimpsest.training import OneProcess, Progress

PROBLEM = Problem(n_dims=10, n_tasks=64, n_exemplars=40)
SIZES = TransformerConfig(
    n_dims=10, n_points=41, width=256, n_layers=12, n_heads=8, architecture="published"
)
BATCH_SIZE = 64
TARGET = 1.5
TRAINING = Training(
    n_steps=1_000_000,
    batch_size=BATCH_SIZE,
    optimiser="adamw",
    learning_rate=1e-4,
    schedule="constant",
    n_warmup_steps=0,
)


class _EnoughError(Exception):
    """Ends our loop."""


def draw(step: int) -> Batch:
    """Return the batch of a step, for all."""
    return PROBLEM.batch("mix", BATCH_SIZE, seed=0, step=step)


def peer(sizes: TransformerConfig) -> Callable[[int], float]:
    """Return what makes so many of the peer's steps and returns the seconds of one."""
    model = Gpt2Regression(sizes)
    adam = torch.optim.Adam(model.parameters(), lr=1e-4)

    def run(n_steps: int) -> float:
        start = time.perf_counter()
        for step in range(n_steps):
            adam_step(model, adam, draw(step))
        return (time.perf_counter() - start) / n_steps

    return run


def ours(sizes: TransformerConfig, training: Training) -> Callable[[int], float]:
    """Return what makes so many of our steps and returns the seconds of one."""

    def run(n_steps: int) -> float:
        ticks: list[float] = []

        def tick(progress: Progress) -> None:
            ticks.append(time.perf_counter())
            if progress.step > n_steps:  # the first step warms up, or compiles
                raise _EnoughError

        loop = Loop(
            model=new_transformer(sizes, seed=0),
            training=training,
            source=Source(draw),
            processes=OneProcess("cpu"),
            running=Running(on_progress=tick),
        )
        with suppress(_EnoughError):
            loop.run()
        return (ticks[-1] - ticks[0]) / n_steps

    return run


def operations(sizes: TransformerConfig) -> float:
    """Return the floating-point operations of the matrix products of one step."""
    n_tokens = BATCH_SIZE * (2 * PROBLEM.n_points - 1)
    weights = 12 * sizes.width**2 * sizes.n_layers
    attention = 2 * (2 * PROBLEM.n_points - 1) * sizes.width * sizes.n_layers
    return 3 * 2 * n_tokens * (weights + attention)


def step_at_best(sizes: TransformerConfig, on: Machine) -> float:
    """Return the seconds that a step of our model takes at best."""
    model = new_transformer(sizes, seed=0)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch = draw(0)

    def step() -> None:
        (model(batch.xs, batch.ys) - batch.ys).square().mean().backward()
        adam.step()

    return at_best(step, on)


def main() -> None:
    """Print all ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer layers and rounds")
    quick = parser.parse_args().quick
    sizes = replace(SIZES, n_layers=2) if quick else SIZES
    n_rounds, n_steps = (2, 2) if quick else (5, 3)
    runs = {
        "transformers' GPT-2, Adam, float32": peer(sizes),
        "ours, float32": ours(sizes, TRAINING),
        "ours, float32, compiled": ours(sizes, replace(TRAINING, compile=True)),
        "ours, bf16": ours(sizes, replace(TRAINING, precision="bf16")),
    }
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f} before the start; {sizes.n_layers} layers × {sizes.width}"
    )
    for run in runs.values():
        run(1)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    machines = []
    for _ in range(n_rounds):
        machines.append(machine())
        for name, run in runs.items():
            seconds[name].append(run(n_steps))
    on = sorted(machines, key=lambda one: one.operations)[n_rounds // 2]
    best, floor = on.operations, step_at_best(sizes, on)
    print(
        f"peak of matrix products, float32: {best / 1e9:.0f} GFLOP/s; a step at best: {floor:.2f} s"
    )
    print(f"{'':36}{'steps/s':>9}{'of peak':>9}{'of roofline':>13}{'ratio':>7}{'target':>8}")
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    base = next(iter(medians.values()))
    for name, each in medians.items():
        shares = operations(sizes) / each / best, floor / each
        share, of_floor = ("", "") if "bf16" in name else (f"{one:.0%}" for one in shares)
        goal = f"{TARGET:8.1f}" if name == "ours, float32" else ""
        print(f"  {name:34}{1 / each:9.2f}{share:>9}{of_floor:>13}{base / each:7.2f}{goal}")


if __name__ == "__main__":
    main()
