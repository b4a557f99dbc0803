r"""Remembering M tasks against regression on any: a model's weight, and a rational observer's.

After Wurgaft et al., *In-Context Learning Strategies Emerge Rationally* (arXiv 2506.17859): after N
steps on M tasks, an observer who weighs what each strategy explains against what it takes to write
it down gives the remembering one the log odds

.. math:: γ N^{1 - a} ΔL_M - K_M^b

with :math:`ΔL_M` the loss of ridge minus that of the discrete estimator on prompts of the M tasks,
and :math:`K_M = 32 d M` the bits of M tasks. Three numbers, γ, a and b, are fitted to all models at
once. The weight of the remembering strategy in a model is ĝ, over all positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import least_squares
from scipy.special import expit

from palimpsest.errors import UserError
from palimpsest.stats import Array

_KEYS = ("pretrain.n_steps", "problem.n_tasks", "problem.n_dims")
_BITS = 32
_STARTS = [(gamma, a, b) for gamma in (-5.0, -1.0) for a in (0.2, 0.6) for b in (0.1, 0.3)]
_WIDEST = ([-20.0, -1.0, 0.0], [10.0, 1.0, 1.0])
MIN_DIVERSITIES = 3
"""Numbers of tasks that are needed, for one can be left out of the fit."""


class Models(NamedTuple):
    """What the observer is told of each model, and what is measured of it."""

    n_steps: Float[np.ndarray, " models"]
    """N."""
    n_tasks: Float[np.ndarray, " models"]
    """M."""
    n_bits: Float[np.ndarray, " models"]
    """K."""
    gaps: Float[np.ndarray, " models"]
    """ΔL, in the loss's unit."""
    inside: Float[np.ndarray, " models"]
    """ĝ on prompts of the M tasks."""
    outside: Float[np.ndarray, " models"]
    """ĝ on prompts of new tasks."""

    def only(self, chosen: Bool[np.ndarray, " models"]) -> Models:
        """Return the chosen ones."""
        return Models(*(column[chosen] for column in self))


class Observer(NamedTuple):
    """A fitted observer."""

    gamma: float
    """γ: what one step's loss counts."""
    discount: float
    """a: how much less a later step counts."""
    complexity: float
    """b: how much a bit counts."""

    def weights(self, models: Models) -> Float[np.ndarray, " models"]:
        """Return the weight of remembering that the observer expects of each model."""
        evidence = self.gamma * models.n_steps ** (1 - self.discount) * models.gaps
        found: Array = expit(evidence - models.n_bits**self.complexity)
        return found


class Observed(NamedTuple):
    """Models beside an observer; correlations are Pearson's, over models."""

    models: Models
    observer: Observer
    expected: Float[np.ndarray, " models"]
    """By the observer fitted to all."""
    held_out: Float[np.ndarray, " models"]
    """By an observer fitted to the models of all other numbers of tasks."""

    @property
    def inside(self) -> float:
        """Correlation with ĝ on prompts of the M tasks."""
        return _correlation(self.expected, self.models.inside)

    @property
    def outside(self) -> float:
        """Correlation with ĝ on prompts of new tasks."""
        return _correlation(self.expected, self.models.outside)

    @property
    def inside_held_out(self) -> float:
        """As ``inside``, with each number of tasks unseen."""
        return _correlation(self.held_out, self.models.inside)


def observe(table: Sequence[Mapping[str, Any]]) -> Observed:
    """Fit the observer to the models of a sweep and put both side by side.

    Args:
        table: A row a run, with the columns of
            :data:`~palimpsest.lab.runs.measures.MEASURES`; the runs differ in the number of tasks,
            the steps of the pretraining, and perhaps the seed.

    Raises:
        UserError: A column or a figure is missing, or there are too few numbers of tasks.
    """
    models = _models(table)
    diversities = np.unique(models.n_tasks)
    if len(diversities) < MIN_DIVERSITIES or len(np.unique(models.n_steps)) < 2:
        raise UserError(
            f"The observer needs at least {MIN_DIVERSITIES} numbers of tasks, each after two or "
            f"more lengths of pretraining; got {len(diversities)} and "
            f"{len(np.unique(models.n_steps))}.",
            hint="Sweep over both: palimpsest lab sweep experiments/lab/threshold.toml",
        )
    observer = fit(models)
    held_out = np.empty_like(models.inside)
    for n_tasks in diversities:
        left_out = models.n_tasks == n_tasks
        held_out[left_out] = fit(models.only(~left_out)).weights(models.only(left_out))
    return Observed(models, observer, observer.weights(models), held_out)


def fit(models: Models) -> Observer:
    """Return the observer nearest to some models.

    Squares are weighted by ΔL: the mean squared distance between the answers of both strategies on
    prompts of the M tasks, so that nearness in weight is nearness of predictions.
    """

    def misses(free: Array) -> Array:
        expected = Observer(np.exp(free[0]), free[1], free[2]).weights(models)
        missed: Array = np.sqrt(np.maximum(models.gaps, 0)) * (expected - models.inside)
        return missed

    found = [least_squares(misses, start, bounds=_WIDEST) for start in _STARTS]
    gamma, discount, complexity = min(found, key=lambda one: one.cost).x
    return Observer(float(np.exp(gamma)), float(discount), float(complexity))


def _models(table: Sequence[Mapping[str, Any]]) -> Models:
    names = (*_KEYS, "ridge_disc", "discrete_disc", "g_hat_discrete", "g_hat_base")
    missing = [name for name in names if any(row.get(name) in (None, "") for row in table)]
    if missing or not table:
        raise UserError(
            f"Not every run of the sweep has {', '.join(missing or names)}.",
            hint="Vary problem.n_tasks and pretrain.n_steps, and let all runs end: "
            "experiments/lab/threshold.toml",
        )
    found = {name: np.array([float(row[name]) for row in table]) for name in names}
    n_steps, n_tasks, n_dims = (found[key] for key in _KEYS)
    return Models(
        n_steps=n_steps,
        n_tasks=n_tasks,
        n_bits=_BITS * n_dims * n_tasks,
        gaps=found["ridge_disc"] - found["discrete_disc"],
        inside=found["g_hat_discrete"],
        outside=found["g_hat_base"],
    )


def _correlation(one: Array, other: Array) -> float:
    return float(np.corrcoef(one, other)[0, 1])
