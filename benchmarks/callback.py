"""How much longer a training takes with the ForgettingCallback, against one without it.

    python -m benchmarks.callback
    python -m benchmarks.callback --quick     # one round; rough

Rosetta's base is trained with transformers' Trainer, without and with the callback in turn, told to
keep its share of 5 %. What counts is the wall time of the whole training; beside it stand its
processor time, and what the callback says of itself. Each figure is the median over the rounds,
with the least and the most: trainings without the callback differ as well. Every run must end with
the same weights.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

from palimpsest.integrations.trainer import ForgettingCallback, read_measurements
from palimpsest.lm.models import load_model
from palimpsest.lm.models.huggingface import HuggingFaceModel
from palimpsest.rosetta import Writer

SHARE = 0.05
BATCH_SIZE = 32
SUITE = "rosetta:languages=en"


class Run(NamedTuple):
    """One training."""

    seconds: float
    cpu_seconds: float
    weights: torch.Tensor
    """The sum of each tensor: equal to the bit where the trainings are."""
    steps: list[int]
    """What was measured."""
    own_share: float
    """What the callback says."""


def rows_of(tokenizer: Any, n: int) -> list[dict[str, list[int]]]:
    """Return encoded instructions of one length each, as the collator stacks them."""
    writer = Writer("train", conflict_share=0.0, line_share=1.0)
    rng = np.random.default_rng(0)
    texts = ("".join(writer.tuning(rng)) for _ in range(n))
    return [{"input_ids": tokenizer(text)["input_ids"]} for text in texts]


def batch(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Return a padded batch whose labels are its tokens."""
    width = max(len(row["input_ids"]) for row in rows)
    ids = [row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows]
    labels = [row["input_ids"] + [-100] * (width - len(row["input_ids"])) for row in rows]
    return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}


def train(rows: list[dict[str, list[int]]], n_steps: int, share: float | None) -> Run:
    """Train once; with the callback if a share is given."""
    base = load_model("rosetta:base")
    assert isinstance(base, HuggingFaceModel)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=base.network.train(),
            args=TrainingArguments(
                output_dir=folder,
                max_steps=n_steps,
                per_device_train_batch_size=BATCH_SIZE,
                learning_rate=1e-4,
                logging_steps=50,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=rows,
            data_collator=batch,
            processing_class=base.tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        if share is not None:
            trainer.add_callback(
                ForgettingCallback(trainer, SUITE, every=10, limit=10, max_share=share)
            )
        started, cpu_started = time.perf_counter(), time.process_time()
        trainer.train()
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - cpu_started
        weights = torch.stack([tensor.sum() for tensor in base.network.state_dict().values()])
        if share is None:
            return Run(seconds, cpu_seconds, weights, [], 0.0)
        found = read_measurements(Path(folder) / "forgetting")
        last = found[-1]
        return Run(
            seconds,
            cpu_seconds,
            weights,
            [row.step for row in found],
            last.measuring_seconds / last.training_seconds,
        )


def main() -> None:
    """Print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--steps", type=int, default=200, help="of a training")
    options = parser.parse_args()
    n_steps, rounds = options.steps, 1 if options.quick else 6
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f} before the start; {n_steps} steps of {BATCH_SIZE} texts"
    )
    base = load_model("rosetta:base")
    assert isinstance(base, HuggingFaceModel)
    rows = rows_of(base.tokenizer, n_steps * BATCH_SIZE)
    train(rows[: 20 * BATCH_SIZE], 20, SHARE)  # warms up
    plain = [train(rows, n_steps, None)]
    watched = []
    for _ in range(rounds):
        watched.append(train(rows, n_steps, SHARE))
        plain.append(train(rows, n_steps, None))
    for run in (*plain, *watched):
        assert torch.equal(run.weights, plain[0].weights), "the callback has changed the training"
    print(f"measured at steps {', '.join(map(str, watched[-1].steps))}\n")
    # Against the mean of the trainings before and after: the machine may become faster or slower.
    around = list(zip(plain[:-1], watched, plain[1:], strict=True))
    line("own account", [run.own_share for run in watched])
    line("wall time", [2 * run.seconds / (a.seconds + b.seconds) - 1 for a, run, b in around])
    line(
        "CPU time",
        [2 * run.cpu_seconds / (a.cpu_seconds + b.cpu_seconds) - 1 for a, run, b in around],
    )
    line("two without it", [b.seconds / a.seconds - 1 for a, b in pairwise(plain)])


def line(name: str, shares: Sequence[float]) -> None:
    """Print the median of shares, and the least and the most."""
    low, middle, high = min(shares), statistics.median(shares), max(shares)
    print(f"{name:16}{middle:8.1%}  ({low:.1%} to {high:.1%})", flush=True)


if __name__ == "__main__":
    main()
