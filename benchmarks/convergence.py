"""Time until a base model at `tiny` has converged: our recipe against that of version 0.1.0.

Run it on an otherwise idle machine:

    python -m benchmarks.convergence                    # some twenty minutes on one core
    python -m benchmarks.convergence --peer published   # against the published recipe: an hour

The clock stops when a model is less than 1.5 % of what can be learned away from the Bayes mixture
on D_mix and its α̂ on D_cont has come up to α: α lies in its interval, or α̂ has passed it since the
last look. (α̂ rises from near 0, and with some seeds it ends a little past α.) Both are looked at
every 250 steps, on the same 1,024 prompts; the clock stands still meanwhile. The recipe of 0.1.0
is Muon on batches of 64 whole prompts with a rate that falls linearly over 10,000 steps; the
published one, GPT-2 of 12 layers × 256 with Adam at 1e-4. Either is cut off at --cut-off times
ours, and the ratio is then a lower bound. Time is the processor's, of one thread, as other work
takes less from it. The ratio is that of the sums over the seeds, which are not those of any
published run.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from benchmarks.gpt2_regression import Gpt2Regression, adam_step
from palimpsest.lab.measuring import Bench, Measuring, measure_convergence
from palimpsest.lab.measuring.convergence import CONVERGED_SHARE, Convergence
from palimpsest.lab.predictors import Predictor, Transformer, TransformerConfig
from palimpsest.lab.runs import load_config
from palimpsest.lab.training import Running, Training, pretrain

N_PROMPTS = 1024
STEPS_BETWEEN = 250
LIMIT = 10_000
"""Steps that either recipe may take; the rate of 0.1.0 falls to zero over them."""
TARGET = 3.0


class Reached(NamedTuple):
    """When a training was looked at last."""

    seconds: float
    step: int
    found: Convergence

    @property
    def is_there(self) -> bool:
        """Whether little is missing and α̂ has come up to α."""
        _, high = self.found.alpha.ci95 or (0.0, 0.0)
        return self.found.share_of_mixture < CONVERGED_SHARE and high >= self.found.true_alpha


class Watch:
    """A clock of the processor that stands still while a model is looked at."""

    def __init__(self, bench: Bench, cut_off: float) -> None:
        self._bench, self._cut_off = bench, cut_off
        self._seconds, self._since = 0.0, time.process_time()
        self.last: Reached | None = None

    def is_over(self, step: int, model: Predictor) -> bool:
        """Look at a model, and tell whether it is there or the time is up."""
        self._seconds += time.process_time() - self._since
        self.last = Reached(self._seconds, step, measure_convergence(model, self._bench))
        self._since = time.process_time()
        return self.last.is_there or self._seconds >= self._cut_off


def trained(training: Training, seed: int) -> Callable[[Watch], None]:
    """Return what trains the preset's transformer until the watch says so."""
    config = load_config("tiny", seed=seed)

    def train(watch: Watch) -> None:
        def is_over(step: int, model: Transformer) -> bool:
            return watch.is_over(step, model)

        pretrain(
            config.problem,
            config.transformer,
            training,
            is_converged=is_over,
            running=Running(device="cpu"),
        )

    return train


def published(seed: int) -> Callable[[Watch], None]:
    """Return what trains the published transformer by the published recipe."""
    problem = load_config("tiny", seed=seed).problem
    sizes = TransformerConfig(
        n_dims=problem.n_dims,
        n_points=problem.n_points,
        width=256,
        n_layers=12,
        n_heads=8,
        architecture="published",
    )

    def train(watch: Watch) -> None:
        torch.manual_seed(seed)
        model = Gpt2Regression(sizes)
        adam = torch.optim.Adam(model.parameters(), lr=1e-4)
        step = 0
        while True:
            adam_step(model, adam, problem.batch("mix", 64, seed=seed, step=step))
            step += 1
            if step % STEPS_BETWEEN == 0 and watch.is_over(step, model):
                return

    return train


def timed(name: str, train: Callable[[Watch], None], bench: Bench, cut_off: float) -> Reached:
    """Train, print when it converged, and return it."""
    watch = Watch(bench, cut_off)
    train(watch)
    assert watch.last is not None
    seconds, step, found = watch.last
    low, high = found.alpha.ci95 or (0.0, 0.0)
    print(
        f"  {name:24}{seconds:9.1f}{step:8}{found.share_of_mixture:9.2%}"
        f"   {found.alpha.or_zero:.3f} [{low:.3f}, {high:.3f}]"
        f"{'' if watch.last.is_there else '  cut off'}",
        flush=True,
    )
    return watch.last


def compared(seed: int, peer: str, cut_off: float) -> tuple[Reached, Reached]:
    """Train our model and the peer's on one problem; return when each was there."""
    ending = ["pretrain.until=converged", f"pretrain.check_every={STEPS_BETWEEN}"]
    config = load_config("tiny", [*ending, f"pretrain.n_steps={LIMIT}"], seed=seed)
    bench = Bench(config.problem, Measuring(n_prompts=N_PROMPTS), seed, N_PROMPTS)
    ours = timed(f"ours, seed {seed}", trained(config.pretrain, seed), bench, float("inf"))
    before = Training(
        n_steps=LIMIT,
        until="converged",
        check_every=STEPS_BETWEEN,
        learning_rate=1e-2,
        schedule="linear",
        seed=seed,
    )
    train = trained(before, seed) if peer == "0.1.0" else published(seed)
    return ours, timed(f"{peer}, seed {seed}", train, bench, cut_off * ours.seconds)


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[951, 952, 953])
    parser.add_argument("--peer", choices=("0.1.0", "published"), default="0.1.0")
    parser.add_argument("--cut-off", type=float, default=10.0, help="of the peer, in times of ours")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, load {os.getloadavg()[0]:.1f} before the start")
    print(f"  {'until converged':24}{'seconds':>9}{'steps':>8}{'missing':>9}   α̂")
    pairs = [compared(seed, options.peer, options.cut_off) for seed in options.seeds]
    ours, peers = (sum(one.seconds for one in each) for each in zip(*pairs, strict=True))
    bound = "" if all(peer.is_there for _, peer in pairs) else "≥ "
    each = ", ".join(f"{peer.seconds / own.seconds:.1f}" for own, peer in pairs)
    print(f"ratio: {bound}{peers / ours:.1f} (each: {each}; target {TARGET:.0f})")


if __name__ == "__main__":
    main()
