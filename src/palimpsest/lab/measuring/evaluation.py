"""How well predictors do, prefix by prefix, on fresh prompts of each distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lab.predictors.estimators import exact_predictors
from palimpsest.lab.predictors.predictor import Predictor, predict
from palimpsest.lab.problem.problem import Batch, Problem
from palimpsest.stats.bootstrap import bootstrap_means, percentile_interval
from palimpsest.stats.proportions import Interval

N_RESAMPLES = 2000
"""Bootstrap resamples, unless the caller says otherwise: the ends of an interval are then known to
about a thirtieth of its width."""


class Curve(NamedTuple):
    """A figure for each number of exemplars, with the ends of its 95 % interval."""

    values: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The errors of several predictors on the same prompts."""

    distribution: str
    """``mix``, ``disc`` or ``cont``."""
    errors: Mapping[str, Float[np.ndarray, "prompts points"]]
    """Name of the predictor to squared errors against the targets without noise."""

    def of(self, name: str) -> Float[np.ndarray, "prompts points"]:
        """Return the squared errors of a predictor.

        Raises:
            UserError: It was not evaluated.
        """
        if name not in self.errors:
            raise UserError(
                f"No predictor named '{name}' was evaluated.{did_you_mean(name, self.errors)}",
                hint=f"There are: {', '.join(self.errors)}.",
            )
        return self.errors[name]

    def loss(self, name: str) -> float:
        """Return the mean squared error over prompts and prefixes."""
        return float(self.of(name).mean())

    def interval(
        self, name: str, *, rng: np.random.Generator, n_resamples: int = N_RESAMPLES
    ) -> Interval:
        """Return the 95 % interval of the loss, by bootstrap over prompts."""
        losses = self.of(name).mean(1, keepdims=True)
        means = bootstrap_means(losses, range(len(losses)), rng=rng, n_resamples=n_resamples)
        return percentile_interval(means[:, 0])

    def by_prefix(
        self, name: str, *, rng: np.random.Generator, n_resamples: int = N_RESAMPLES
    ) -> Curve:
        """Return the mean squared error for each number of exemplars, 0 first."""
        errors = self.of(name)
        means = bootstrap_means(errors, range(len(errors)), rng=rng, n_resamples=n_resamples)
        return Curve(errors.mean(0), *outer_quantiles(means))


def evaluation_batch(
    problem: Problem,
    distribution: str,
    n_prompts: int,
    *,
    seed: int,
    step: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """Return prompts that no training sees, whatever its seed."""
    return problem.batch(
        distribution, n_prompts, seed=seed, step=step, purpose="evaluation", dtype=dtype
    )


def evaluate(
    predictors: Mapping[str, Predictor],
    problem: Problem,
    *,
    n_prompts: int = 1024,
    seed: int = 0,
    distributions: Sequence[str] = ("disc", "cont"),
    with_exact: bool = False,
) -> dict[str, Evaluation]:
    """Evaluate predictors on the same fresh prompts of each distribution.

    Args:
        predictors: Name to predictor, trained or exact.
        problem: What the prompts are drawn from.
        n_prompts: Prompts of each distribution.
        seed: Of the prompts.
        distributions: Which of ``mix``, ``disc`` and ``cont``.
        with_exact: Add the closed forms of
            :func:`~palimpsest.lab.predictors.estimators.exact_predictors`; predictors of the same
            names go before them.

    Returns:
        An evaluation for each distribution.

    Raises:
        UserError: No such distribution, or no prompts.

    Example:
        >>> problem = Problem(n_dims=2, n_tasks=3, n_exemplars=8, noise_std=0.5)
        >>> found = evaluate({}, problem, n_prompts=200, with_exact=True)
        >>> found["disc"].loss("discrete") < found["disc"].loss("ridge")
        True
        >>> found["cont"].loss("ridge") < found["cont"].loss("discrete")
        True
    """
    asked = {**exact_predictors(problem), **predictors} if with_exact else dict(predictors)
    evaluations = {}
    for name in distributions:
        batch = evaluation_batch(problem, name, n_prompts, seed=seed)
        errors = {who: squared_errors(predictor, batch) for who, predictor in asked.items()}
        evaluations[name] = Evaluation(name, errors)
    return evaluations


def squared_errors(predictor: Predictor, batch: Batch) -> Float[np.ndarray, "prompts points"]:
    """Return the squared differences between predictions and targets without noise."""
    predictions = predict(predictor, batch.xs, batch.ys)
    errors: np.ndarray = (predictions - batch.targets.to(torch.float64)).square().numpy()
    return errors


def outer_quantiles(
    resamples: Float[np.ndarray, "resamples columns"],
) -> tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]]:
    """Return the ends of the 95 % interval of each column; NaN where a column is undefined."""
    undefined = Interval(np.nan, np.nan)
    intervals = [
        undefined if np.isnan(column).any() else percentile_interval(column)
        for column in resamples.T
    ]
    low, high = np.array(intervals).T
    return low, high
