"""Exploration of recipes at ``tiny``: one training, measured along the way, a line a measurement.

    python experiments/lab/convergence/explore.py baseline '{"n_steps": 10000}'

Whatever is given replaces a default of ``Recipe``. Seeds from 900 on are used for this alone.
Printed: updates, prompts seen, processor seconds of the updates (the clock stands still while it is
measured), the share that is missing to the Bayes mixture, and α̂ with its interval.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from palimpsest.lab.measuring.inference import discrete_share, fit_alpha
from palimpsest.lab.predictors import fast, new_transformer, predict
from palimpsest.lab.problem import exact_pass
from palimpsest.lab.runs import load_config
from palimpsest.lab.streams import numpy_stream
from palimpsest.training import make_optimisers, rate_scale, update


@dataclass
class Recipe:
    preset: str = "tiny"
    seed: int = 900
    n_steps: int = 10_000
    batches: tuple = ((1.0, 64),)  # (share of the steps until which, size)
    learning_rate: float = 1e-2
    muon: float = 0.02
    schedule: str = "linear"
    decay_share: float = 0.5
    warmup: int = 50
    betas: tuple = (0.9, 0.98)
    ema: float = 0.0
    ema_from: float = 0.0
    attention: str = "sdpa"
    gelu: str = "none"
    clip: float = 1.0
    bf16: bool = False
    points: tuple = ((1.0, 0),)  # (share of the steps until which, points; 0 is all)
    targets: str = "noisy"  # noisy, clean, bayes
    every: int = 500
    n_prompts: int = 2048
    stop: int = 0
    width: int = 0
    n_heads: int = 0
    momentum: float = 0.95
    wd: float = 0.0
    power: float = 0.0  # positions weigh by their mean squared residual to minus this
    max_seconds: float = 1e9


def explicit(query, key, value, *, is_causal, scale):
    scores = (query * scale) @ key.transpose(-1, -2)
    n = scores.shape[-1]
    mask = torch.full((n, n), -torch.inf).triu(1)
    return (scores + mask).softmax(-1) @ value


def main() -> None:
    name, given = sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    r = Recipe(**given)
    torch.set_num_threads(1)
    settings = [f"model.width={r.width}"] if r.width else []
    settings += [f"model.n_heads={r.n_heads}"] if r.n_heads else []
    config = load_config(r.preset, settings, seed=r.seed)
    problem = config.problem
    if r.attention == "explicit":
        fast.functional = type("F", (), {**vars(functional), "scaled_dot_product_attention": staticmethod(explicit)})
    if r.attention == "float":  # products in bfloat16, attention in float32, which is faster
        usual, sdpa, norm = functional, functional.scaled_dot_product_attention, functional.rms_norm
        fast.functional = type("F", (), {
            **{n: staticmethod(getattr(usual, n)) for n in ("pad", "gelu")},
            "rms_norm": staticmethod(lambda x, shape: norm(x.float(), shape)),
            "scaled_dot_product_attention": staticmethod(
                lambda q, k, v, **how: sdpa(q.float(), k.float(), v.float(), **how)
            ),
        })
    if r.gelu == "tanh":
        old = functional.gelu
        functional.gelu = lambda x: old(x, approximate="tanh")
    model = new_transformer(config.transformer, seed=r.seed)
    averaged = copy.deepcopy(model)
    rated = make_optimisers(
        model, "muon", learning_rate=r.learning_rate, muon_learning_rate=r.muon, betas=r.betas, weight_decay=r.wd
    )
    for one in rated:
        if type(one.optimiser).__name__ == "Muon":
            for g in one.optimiser.param_groups:
                g["momentum"] = r.momentum
    mix, cont, disc = (
        problem.batch(d, r.n_prompts, seed=r.seed, purpose="evaluation") for d in ("mix", "cont", "disc")
    )
    exact, on_cont, on_disc = (exact_pass(problem, b.xs, b.ys) for b in (mix, cont, disc))
    loss = lambda f: float((f - mix.targets.double()).square().mean())
    least, most = loss(exact.predictions), loss(0 * exact.predictions)
    ideal = discrete_share(on_disc.predictions, on_disc.ridge, on_disc.discrete, rng=numpy_stream(0, "bootstrap"), n_resamples=50).overall
    seconds, n_seen = 0.0, 0
    print(name, json.dumps(given), f"ideal g {ideal:.3f}", flush=True)
    bayes = problem.bayes("mix")
    ema_steps = 0
    for step in range(r.n_steps):
        start = time.process_time()
        at = step / r.n_steps
        size = next(b for until, b in r.batches if at < until)
        n_points = next(n for until, n in r.points if at < until) or problem.n_points
        batch = problem.batch("mix", size, seed=r.seed, step=step)
        xs, ys = batch.xs[:, :n_points], batch.ys[:, :n_points]
        target = ys
        if r.targets == "clean":
            target = batch.targets[:, :n_points]
        elif r.targets == "bayes":
            target = bayes(xs, ys).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=r.bf16):
            f = model(xs, ys)
        squares = (f.float() - target).square()
        if r.power:
            now = squares.detach().mean(0)
            residual = now if step == 0 else residual.lerp(now, max(0.02, 1 / (step + 1)))
            weight = residual**-r.power
            squares = squares * (weight / weight.mean())
        squares.mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), r.clip)
        scale = min((step + 1) / r.warmup, (r.warmup / (step + 1)) ** 0.5) if r.schedule == "inverse" else rate_scale(r.schedule, step, n_steps=r.n_steps, n_warmup_steps=r.warmup, decay_share=r.decay_share)
        for one in rated:
            update(one, scale)
        if r.ema and at >= r.ema_from:
            ema_steps += 1
            # Above one: a share, 1 / ema, of all steps so far.
            keep = 1 - min(1.0, r.ema / ema_steps) if r.ema > 1 else min(r.ema, ema_steps / (ema_steps + 10))
            with torch.no_grad():
                torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - keep)
        seconds += time.process_time() - start
        n_seen += size
        step += 1
        if step % r.every == 0 or step == r.n_steps:
            said = []
            for one in [model, averaged] if r.ema and at >= r.ema_from else [model]:
                one.eval()
                missing = (loss(predict(one, mix.xs, mix.ys)) - least) / (most - least)
                fit = fit_alpha(predict(one, cont.xs, cont.ys), on_cont, rng=numpy_stream(0, "bootstrap"), n_resamples=300)
                g = discrete_share(predict(one, disc.xs, disc.ys), on_disc.ridge, on_disc.discrete, rng=numpy_stream(0, "bootstrap"), n_resamples=50).overall
                said.append(f"missing {100 * missing:5.2f} %  alpha {fit.alpha:.3f} [{fit.interval.low:.3f}, {fit.interval.high:.3f}] g {g:.3f}")
            print(f"{step:6} {n_seen:8} {seconds:7.1f} s  " + "  | ema ".join(said), flush=True)
        if r.stop and step >= r.stop or seconds > r.max_seconds:
            break


if __name__ == "__main__":
    main()
