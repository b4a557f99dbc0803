"""Pretraining on a mixture of tasks, and fine-tuning on the discrete ones with any remedy."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.predictors.estimators import exact_predictors
from palimpsest.lab.predictors.transformer import Transformer, TransformerConfig, new_transformer
from palimpsest.lab.problem.problem import Batch, Problem
from palimpsest.lab.problem.streams import stream
from palimpsest.lab.training.loop import Loop, Running
from palimpsest.lab.training.lora import add_lora, merge_lora
from palimpsest.lab.training.remedies import interpolated, penalties
from palimpsest.lab.training.settings import Remedies, Training
from palimpsest.training.checkpoints import fingerprint
from palimpsest.training.devices import find_processes

_NO_REMEDIES = Remedies()
_PLAINLY = Running()


def pretrain(
    problem: Problem,
    config: TransformerConfig,
    training: Training,
    *,
    running: Running = _PLAINLY,
) -> Transformer:
    r"""Train a new transformer on ``D_mix``, with the squared error at every position.

    .. math:: L = \frac{1}{B(n+1)} \sum_{b=1}^{B} \sum_{k=0}^{n} (f_k - y_k)^2

    Args:
        problem: What it is to infer.
        config: Its sizes.
        training: Steps, rates and seed.
        running: Checkpoint, device, whom to tell; changes nothing of the result.

    Raises:
        UserError: Sizes that do not fit the problem, a checkpoint of another training, a loss
            that is no number, a file that cannot be written.
        KeyboardInterrupt: Ctrl-C, once everything is saved.

    Example:
        >>> problem = Problem(n_dims=2, n_tasks=2, n_exemplars=4)
        >>> sizes = TransformerConfig(n_dims=2, n_points=5, width=8, n_layers=1, n_heads=2)
        >>> model = pretrain(problem, sizes, Training(n_steps=3, batch_size=4))
        >>> batch = problem.batch("mix", 7, seed=1)
        >>> model(batch.xs, batch.ys).shape
        torch.Size([7, 5])
    """
    check_fit(problem, config)
    model = new_transformer(config, seed=training.seed)

    def draw(step: int) -> Batch:
        return problem.batch("mix", training.batch_size, seed=training.seed, step=step)

    bayes = exact_predictors(problem)["mixture"]
    Loop(
        model=model,
        training=training,
        draw=draw,
        processes=find_processes(running.device, batch_size=training.batch_size),
        running=running,
        identity=_identity("pretraining", problem, config, training),
        bayes=lambda step, batch: bayes(batch.xs, batch.ys),
    ).run()
    return model


def finetune(
    base: Transformer,
    problem: Problem,
    training: Training,
    *,
    remedies: Remedies = _NO_REMEDIES,
    pretraining_problem: Problem | None = None,
    running: Running = _PLAINLY,
) -> Transformer:
    """Return the model tuned on ``D_disc``; the base model stays as it is.

    For a *new* discrete set, give a problem with another ``task_seed``, and the old one as
    ``pretraining_problem``:

        finetune(base, replace(problem, task_seed=1), training, pretraining_problem=problem)

    Args:
        base: The pretrained model.
        problem: Its discrete tasks are tuned on.
        training: Steps, rates and seed; take another seed than in pretraining.
        remedies: What is done against forgetting.
        pretraining_problem: Where replayed prompts come from; ``problem`` if not given.
        running: Checkpoint, device, whom to tell; changes nothing of the result. What it measures
            is the model in training, before any interpolation.

    Raises:
        UserError: As :func:`pretrain`; or a KL term without noise.
        KeyboardInterrupt: Ctrl-C, once everything is saved.

    Example:
        >>> problem = Problem(n_dims=2, n_tasks=2, n_exemplars=4)
        >>> sizes = TransformerConfig(n_dims=2, n_points=5, width=8, n_layers=1, n_heads=2)
        >>> base = pretrain(problem, sizes, Training(n_steps=3, batch_size=4))
        >>> few = Training(n_steps=2, batch_size=4, optimiser="adamw", seed=1)
        >>> tuned = finetune(base, problem, few, remedies=Remedies(replay=0.25, l2_sp=0.1))
    """
    source = problem if pretraining_problem is None else pretraining_problem
    for one in (problem, source):
        check_fit(one, base.config)
    processes = find_processes(running.device, batch_size=training.batch_size)
    origin = copy.deepcopy(base).to(processes.device).eval()
    model = copy.deepcopy(origin)
    if remedies.lora_rank is not None:
        drawn = stream(training.seed, "initialisation")
        add_lora(model, rank=remedies.lora_rank, scale=remedies.lora_scale, generator=drawn)
    identity = _identity("fine-tuning", problem, base.config, training) | {
        "remedies": asdict(remedies),
        "base": fingerprint(base),
        "replayed": _described(source) if remedies.replay else None,
    }
    Loop(
        model=model,
        training=training,
        draw=replaying(problem, source, training, share=remedies.replay),
        processes=processes,
        running=running,
        identity=identity,
        penalties=penalties(remedies, model, origin, noise_std=problem.noise_std),
        bayes=_bayes_of_parts(problem, source, training, share=remedies.replay),
    ).run()
    if remedies.lora_rank is not None:
        merge_lora(model)
    if remedies.interpolation == 1.0:
        return model
    return interpolated(origin, model, remedies.interpolation)


def check_fit(problem: Problem, config: TransformerConfig) -> None:
    """Check that a transformer of these sizes can read the problem's prompts.

    Raises:
        UserError: It cannot.
    """
    if config.n_dims != problem.n_dims:
        raise UserError(
            f"The problem has {problem.n_dims} dimensions; the model reads {config.n_dims}.",
            hint="Give both the same n_dims.",
        )
    if config.n_points < problem.n_points:
        raise UserError(
            f"The problem has {problem.n_exemplars} exemplars; the model has positions for "
            f"{config.n_points - 1}.",
            hint=f"Give the model at least {problem.n_points} points, or the problem fewer "
            "exemplars.",
        )


def n_replayed(step: int, batch_size: int, share: float) -> int:
    """Return how many prompts of a step's batch are replayed; over all steps, the exact share.

    Example:
        >>> [n_replayed(step, 8, share=0.2) for step in range(5)]
        [1, 2, 1, 2, 2]
    """
    return math.floor((step + 1) * batch_size * share) - math.floor(step * batch_size * share)


def replaying(
    problem: Problem, source: Problem, training: Training, *, share: float
) -> Callable[[int], Batch]:
    """Return what draws batches from ``D_disc``, with a share from ``source``'s ``D_mix``."""

    def draw(step: int) -> Batch:
        n, seed = training.batch_size, training.seed
        batch = problem.batch("disc", n, seed=seed, step=step)
        n_old = n_replayed(step, n, share)
        if not n_old:
            return batch
        # Inputs and noise of both are the same, row by row: each prompt is taken from one.
        old = source.batch("mix", n, seed=seed, step=step)
        return Batch(*(torch.cat((a[:n_old], b[n_old:])) for a, b in zip(old, batch, strict=True)))

    return draw


def _bayes_of_parts(
    problem: Problem, source: Problem, training: Training, *, share: float
) -> Callable[[int, Batch], Tensor]:
    """Return the best predictions where it is known which prompts are replayed."""
    discrete = exact_predictors(problem)["discrete"]
    mixture = exact_predictors(source)["mixture"]

    def bayes(step: int, batch: Batch) -> Tensor:
        n_old = n_replayed(step, training.batch_size, share)
        tuned_on = discrete(batch.xs[n_old:], batch.ys[n_old:])
        if not n_old:
            return tuned_on
        return torch.cat((mixture(batch.xs[:n_old], batch.ys[:n_old]), tuned_on))

    return bayes


def _identity(
    kind: str, problem: Problem, config: TransformerConfig, training: Training
) -> dict[str, Any]:
    settings = asdict(training)
    del settings["save_every"]  # as often as one likes
    return {
        "kind": kind,
        "problem": _described(problem),
        "config": asdict(config),
        "training": settings,
    }


def _described(problem: Problem) -> dict[str, Any]:
    return asdict(problem) | {"task_fingerprint": problem.task_fingerprint}
