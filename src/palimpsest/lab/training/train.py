"""Pretraining on a mixture of tasks, and fine-tuning on the discrete ones with any remedy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.predictors import Transformer, TransformerConfig, new_transformer
from palimpsest.lab.problem import Batch, Problem
from palimpsest.lab.training.loop import NOT_OF_UPDATES, Loop, Running, Source, Training
from palimpsest.lab.training.remedies import Remedy, Tuning
from palimpsest.training import find_processes, fingerprint

_PLAINLY = Running()


def pretrain(
    problem: Problem,
    config: TransformerConfig,
    training: Training,
    *,
    distribution: str = "mix",
    is_converged: Callable[[int, Transformer], bool] | None = None,
    running: Running = _PLAINLY,
) -> Transformer:
    r"""Train a new transformer, with the squared error at every position.

    .. math:: L = \frac{1}{B(n+1)} \sum_{b=1}^{B} \sum_{k=0}^{n} (f_k - y_k)^2

    Args:
        problem: What it is to infer.
        config: Its sizes.
        training: Steps, rates and seed.
        distribution: Of the tasks that it is trained on.
        is_converged: Asked of the updates made and the model so far, where the training ends as
            soon as it has converged. If its rate does not depend on ``n_steps``, it can be
            continued from its checkpoint with more of them.
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
    ends_early = training.until == "converged"
    if ends_early and is_converged is None:
        raise UserError(
            "A training until it has converged needs 'is_converged', which tells when it has.",
            hint="Give one, or a training with until='steps'.",
        )
    model = new_transformer(config, seed=training.seed)
    kind = f"pretraining on {distribution}".removesuffix(" on mix")
    Loop(
        model=model,
        training=training,
        source=source_of(problem, distribution, training),
        processes=find_processes(running.device, batch_size=training.batch_size),
        running=running,
        identity=_identity(kind, problem, config, training),
        is_done=is_converged if ends_early else None,
    ).run()
    return model


def finetune(
    base: Transformer,
    problem: Problem,
    training: Training,
    *,
    distribution: str = "disc",
    remedies: Sequence[Remedy] = (),
    pretraining_problem: Problem | None = None,
    running: Running = _PLAINLY,
) -> Transformer:
    """Return the tuned model, on ``D_disc`` unless told otherwise; the base stays as it is.

    For a *new* discrete set, give a problem with another ``task_seed``, and the old one as
    ``pretraining_problem``:

        finetune(base, replace(problem, task_seed=1), training, pretraining_problem=problem)

    Args:
        base: The pretrained model.
        problem: Its tasks are tuned on.
        training: Steps, rates and seed; take another seed than in pretraining.
        distribution: Of the tasks that are tuned on.
        remedies: What is done against forgetting.
        pretraining_problem: Where replayed prompts come from; ``problem`` if not given.
        running: Checkpoint, device, whom to tell; changes nothing of the result. What it measures
            is the model in training.

    Raises:
        UserError: As :func:`pretrain`; or a KL term without noise.
        KeyboardInterrupt: Ctrl-C, once everything is saved.

    Example:
        >>> from palimpsest.lab.training.remedies import Replay, WeightDistance
        >>> problem = Problem(n_dims=2, n_tasks=2, n_exemplars=4)
        >>> sizes = TransformerConfig(n_dims=2, n_points=5, width=8, n_layers=1, n_heads=2)
        >>> base = pretrain(problem, sizes, Training(n_steps=3, batch_size=4))
        >>> few = Training(n_steps=2, batch_size=4, optimiser="adamw", seed=1)
        >>> held = [Replay(0.25), WeightDistance(0.1)]
        >>> tuned = finetune(base, problem, few, remedies=held)
    """
    pretrained_on = problem if pretraining_problem is None else pretraining_problem
    for one in (problem, pretrained_on):
        check_fit(one, base.config)
    processes = find_processes(running.device, batch_size=training.batch_size)
    origin = copy.deepcopy(base).to(processes.device).eval()
    model = copy.deepcopy(origin)
    tuning = Tuning(
        model=model,
        base=origin,
        problem=problem,
        pretrained_on=pretrained_on,
        training=training,
    )
    # What acts on finished weights comes last.
    remedies = sorted(remedies, key=lambda remedy: not remedy.is_training)
    source = source_of(problem, distribution, training)
    for remedy in remedies:
        remedy.begin(tuning)
        source = remedy.source(tuning, source)
    kind = f"fine-tuning on {distribution}".removesuffix(" on disc")
    Loop(
        model=model,
        training=training,
        source=source,
        processes=processes,
        running=running,
        identity=_identity(kind, problem, base.config, training)
        | {
            "remedies": {type(remedy).__name__: asdict(remedy) for remedy in remedies},
            "base": fingerprint(base),
            "pretrained_on": _described(pretrained_on) if remedies else None,
        },
        of_predictions=[term for one in remedies if (term := one.of_predictions(tuning))],
        of_weights=[held for one in remedies if (held := one.of_weights(tuning))],
    ).run()
    for remedy in remedies:
        model = remedy.end(origin, model)
    return model


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


def source_of(problem: Problem, distribution: str, training: Training) -> Source:
    """Return batches of a distribution, with its Bayes predictor where one is known.

    Raises:
        UserError: Expected targets are asked for, and none is known.
    """
    predictor = problem.bayes(distribution)

    def draw(step: int) -> Batch:
        if (step + 1) % training.full_every == 0:
            return problem.batch(distribution, training.batch_size, seed=training.seed, step=step)
        whole = problem.batch(
            distribution, training.short_batch_size, seed=training.seed, step=step
        )
        n_points = training.n_short_exemplars + 1
        return whole._replace(
            xs=whole.xs[:, :n_points],
            ys=whole.ys[:, :n_points],
            targets=whole.targets[:, :n_points],
        )

    def bayes(step: int, batch: Batch) -> Tensor:
        assert predictor is not None
        return predictor(batch.xs, batch.ys)

    is_expected = training.targets == "expected"
    if predictor is None:
        if is_expected:
            raise UserError(
                f"targets is 'expected', but no Bayes predictor is known for '{distribution}'.",
                hint="Take targets = 'sampled'.",
            )
        return Source(draw)
    return Source(draw, bayes, bayes if is_expected else None)


def _identity(
    kind: str, problem: Problem, config: TransformerConfig, training: Training
) -> dict[str, Any]:
    settings = asdict(training)
    for name in NOT_OF_UPDATES:
        del settings[name]
    if training.is_open:
        del settings["n_steps"]
    return {
        "kind": kind,
        "problem": _described(problem),
        "config": asdict(config),
        "training": settings,
    }


def _described(problem: Problem) -> dict[str, Any]:
    return asdict(problem) | {"task_fingerprint": problem.task_fingerprint}
