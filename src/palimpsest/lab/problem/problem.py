r"""Regression problems: distributions of tasks, and batches of prompts drawn from them.

.. math:: x ∼ N(0, Σ), \qquad y = ⟨w, φ(x)⟩ + ε, \qquad ε ∼ N(0, σ^2)

A distribution of tasks says which weights w a prompt's answers are made with.

Source: Kotha, Springer and Raghunathan, ICLR 2024 (arXiv 2309.10105), Section 2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.files import digest
from palimpsest.lab.checks import check_count, check_not_negative, check_positive, check_share
from palimpsest.lab.predictors import (
    DiscreteEstimator,
    MixtureEstimator,
    MixturePass,
    OnFeatures,
    OrdinaryLeastSquares,
    Predictor,
    RidgeEstimator,
    predict_zero,
)
from palimpsest.lab.problem.features import Features, features_of
from palimpsest.lab.streams import stream
from palimpsest.registry import Registry

_SAME = 1e-9
"""Weights nearer than this share of the largest count as one; products in float64 are to 1e-14."""


class Draw(NamedTuple):
    """Tasks drawn from a distribution."""

    weights: Float[Tensor, "n dims"]
    is_discrete: Bool[Tensor, " n"]
    """Which of them came from the fixed set of discrete tasks."""


class TaskDistribution(ABC):
    """A distribution of weights, with its Bayes predictor and its symmetries."""

    @classmethod
    @abstractmethod
    def of(cls, problem: Problem) -> TaskDistribution:
        """Return the distribution that a problem's numbers describe."""

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator) -> Draw:
        """Draw ``n`` weight vectors, in float64."""

    @abstractmethod
    def bayes(self, noise_std: float) -> Predictor | None:
        """Return the best predictor from φ(x) and y, or ``None`` where no closed form is known."""

    @abstractmethod
    def keeps(self, change: Float[Tensor, "dims dims"]) -> bool:
        r"""Tell whether the weights :math:`M^\top w` are distributed as w.

        Args:
            change: M, in float64; orthogonal.
        """


@dataclass(frozen=True)
class GaussianTasks(TaskDistribution):
    r"""Weights that are normal with standard deviation τ: the tasks of ``D_cont``.

    .. math:: w ∼ N(0, τ^2 I)

    Raises:
        UserError: ``n_dims`` below one, or a negative ``weight_std``.
    """

    n_dims: int
    """Length of the weight vectors: the number of features, d for linear functions."""
    weight_std: float = 1.0
    """τ."""

    def __post_init__(self) -> None:
        check_count("n_dims", self.n_dims)
        check_not_negative("weight_std", self.weight_std)

    @classmethod
    def of(cls, problem: Problem) -> GaussianTasks:
        """Return those of a problem's number of features and τ."""
        return cls(problem.features.n_features, problem.weight_std)

    def draw(self, n: int, generator: torch.Generator) -> Draw:
        """Draw each weight by itself."""
        normal = torch.randn(n, self.n_dims, generator=generator, dtype=torch.float64)
        return Draw(self.weight_std * normal, torch.zeros(n, dtype=torch.bool))

    def bayes(self, noise_std: float) -> RidgeEstimator:
        """Return ridge."""
        return RidgeEstimator(noise_std, self.weight_std)

    def keeps(self, change: Float[Tensor, "dims dims"]) -> bool:
        """Tell whether the change is orthogonal."""
        eye = torch.eye(len(change), dtype=torch.float64)
        return self.weight_std == 0 or is_same(change @ change.T, eye)


@dataclass(frozen=True, eq=False)
class DiscreteTasks(TaskDistribution):
    """Weights drawn evenly from a fixed set: the tasks of ``D_disc``.

    Raises:
        UserError: No weights, or weights that are not finite.
    """

    weights: Float[Tensor, "tasks dims"]
    """The fixed set, in float64."""

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or not self.weights.numel():
            raise UserError(
                "Discrete tasks need a table of weights, one task a row, at least one row; "
                f"got the shape {tuple(self.weights.shape)}."
            )
        if not bool(torch.isfinite(self.weights).all()):
            raise UserError("Discrete tasks need finite weights; some are infinite or NaN.")
        object.__setattr__(self, "weights", self.weights.detach().to(torch.float64))

    @classmethod
    def drawn(
        cls, n_tasks: int, n_dims: int, weight_std: float, generator: torch.Generator
    ) -> DiscreteTasks:
        r"""Fix ``n_tasks`` weight vectors, drawn from :math:`N(0, τ^2 I)` once.

        Raises:
            UserError: A count below one, or a negative ``weight_std``.

        Example:
            >>> DiscreteTasks.drawn(64, 10, 1.0, torch.Generator().manual_seed(0)).weights.shape
            torch.Size([64, 10])
        """
        check_count("n_tasks", n_tasks)
        return cls(GaussianTasks(n_dims, weight_std).draw(n_tasks, generator).weights)

    @classmethod
    def of(cls, problem: Problem) -> DiscreteTasks:
        """Return the set that a problem's ``task_seed`` fixes."""
        return cls(problem.discrete.weights)

    def draw(self, n: int, generator: torch.Generator) -> Draw:
        """Draw with replacement."""
        chosen = torch.randint(len(self.weights), (n,), generator=generator)
        return Draw(self.weights[chosen], torch.ones(n, dtype=torch.bool))

    def bayes(self, noise_std: float) -> DiscreteEstimator:
        """Return the mean over the set by how well each task fits."""
        return DiscreteEstimator(self.weights, noise_std)

    def keeps(self, change: Float[Tensor, "dims dims"]) -> bool:
        """Tell whether the set stays as it is; n log n steps for n tasks.

        Rows are brought into order by their length along one arbitrary direction, which no two
        rows of a random set share.
        """
        generator = torch.Generator().manual_seed(1)
        direction = torch.randn(len(change), generator=generator, dtype=torch.float64)
        pair = (self.weights, self.weights @ change)
        return is_same(*(rows[(rows @ direction).argsort()] for rows in pair))


@dataclass(frozen=True, eq=False)
class MixtureTasks(TaskDistribution):
    """Discrete tasks with probability α, Gaussian ones otherwise: the tasks of ``D_mix``.

    Raises:
        UserError: α outside 0 to 1, or parts whose weights differ in length.
    """

    alpha: float
    """α, the probability of the discrete part."""
    discrete: DiscreteTasks
    gaussian: GaussianTasks

    def __post_init__(self) -> None:
        check_share("alpha", self.alpha)
        lengths = self.discrete.weights.shape[1], self.gaussian.n_dims
        if lengths[0] != lengths[1]:
            raise UserError(
                "Both parts of a mixture need weights of one length; got "
                f"{lengths[0]} (discrete) and {lengths[1]} (Gaussian)."
            )

    @classmethod
    def of(cls, problem: Problem) -> MixtureTasks:
        """Return the mixture of a problem's set and its Gaussian tasks."""
        return cls(problem.alpha, problem.discrete, GaussianTasks.of(problem))

    def draw(self, n: int, generator: torch.Generator) -> Draw:
        """Draw both parts in full, so that another α leaves what each part gives unchanged."""
        is_discrete = torch.rand(n, generator=generator, dtype=torch.float64) < self.alpha
        discrete = self.discrete.draw(n, generator).weights
        gaussian = self.gaussian.draw(n, generator).weights
        return Draw(torch.where(is_discrete[:, None], discrete, gaussian), is_discrete)

    def bayes(self, noise_std: float) -> MixtureEstimator:
        """Return the mean of both parts' predictors by the posterior of each."""
        weights, weight_std = self.discrete.weights, self.gaussian.weight_std
        return MixtureEstimator(self.alpha, weights, noise_std, weight_std)

    def keeps(self, change: Float[Tensor, "dims dims"]) -> bool:
        """Tell whether each part that is there is left as it is."""
        return (self.alpha == 0 or self.discrete.keeps(change)) and (
            self.alpha == 1 or self.gaussian.keeps(change)
        )


DISTRIBUTIONS: Registry[type[TaskDistribution]] = Registry(
    "distribution",
    {
        "mix": "palimpsest.lab.problem.problem:MixtureTasks",
        "disc": "palimpsest.lab.problem.problem:DiscreteTasks",
        "cont": "palimpsest.lab.problem.problem:GaussianTasks",
    },
)
"""Distributions of tasks: those of ``D_mix``, ``D_disc`` and ``D_cont``, and those of plugins."""


class Batch(NamedTuple):
    """Prompts with what they were made from."""

    xs: Float[Tensor, "batch points dims"]
    ys: Float[Tensor, "batch points"]
    """With noise."""
    targets: Float[Tensor, "batch points"]
    """Without noise."""
    weights: Float[Tensor, "batch features"]
    is_discrete: Bool[Tensor, " batch"]


@dataclass(frozen=True)
class Problem:
    """Tasks, inputs and noise; plain values only, so that a problem can be written down.

    Example:
        >>> problem = Problem(n_dims=4, n_tasks=8, n_exemplars=20, noise_std=0.5)
        >>> problem.batch("cont", 64, seed=0).xs.shape
        torch.Size([64, 21, 4])

    Raises:
        UserError: A count below one, α outside 0 to 1, a negative standard deviation, an unknown
            function class, or a covariance that is none.
    """

    n_dims: int
    """d, the length of x."""
    n_tasks: int
    """n, how many discrete tasks there are."""
    n_exemplars: int
    """The longest prefix; a prompt has one point more, the query."""
    noise_std: float = 1.0
    """σ, of y."""
    weight_std: float = 1.0
    """τ, of w."""
    alpha: float = 0.5
    """α, the share of discrete tasks in ``D_mix``."""
    function_class: str = "linear"
    """``linear``, ``quadratic`` or ``fourier``."""
    n_frequencies: int = 3
    """Frequencies along each coordinate, for ``fourier``."""
    input_covariance: tuple[tuple[float, ...], ...] | None = None
    """Σ, row by row; the identity if ``None``."""
    task_seed: int = 0
    """Which discrete set: another seed, another set."""

    def __post_init__(self) -> None:
        for name in ("n_dims", "n_tasks", "n_exemplars"):
            check_count(name, getattr(self, name))
        check_not_negative("noise_std", self.noise_std)
        check_positive("weight_std", self.weight_std)
        check_share("alpha", self.alpha)
        if self.input_covariance is not None:
            rows = tuple(tuple(float(value) for value in row) for row in self.input_covariance)
            object.__setattr__(self, "input_covariance", rows)
        _ = self.features, self._input_root

    @property
    def n_points(self) -> int:
        """Points of a prompt: the exemplars and the query."""
        return self.n_exemplars + 1

    @cached_property
    def features(self) -> Features:
        """The map φ."""
        return features_of(self.function_class, self.n_dims, n_frequencies=self.n_frequencies)

    @cached_property
    def discrete(self) -> DiscreteTasks:
        """The fixed set of tasks, drawn once from the Gaussian ones."""
        generator = stream(self.task_seed, "task_set")
        return DiscreteTasks.drawn(
            self.n_tasks, self.features.n_features, self.weight_std, generator
        )

    @cached_property
    def task_fingerprint(self) -> str:
        """A hash of the discrete set, which a checkpoint is compared by."""
        return digest(self.discrete.weights.numpy().tobytes())

    def tasks(self, distribution: str) -> TaskDistribution:
        """Return the tasks of a distribution, by its name in :data:`DISTRIBUTIONS`.

        Raises:
            UserError: No such distribution.
        """
        return DISTRIBUTIONS.get(distribution).of(self)

    def bayes(self, distribution: str) -> Predictor | None:
        """Return the best predictor for a distribution, from x and y; ``None`` if none is known.

        Raises:
            UserError: No such distribution.
        """
        found = self.tasks(distribution).bayes(self.noise_std)
        return None if found is None else OnFeatures(found, self.features)

    def batch(
        self,
        distribution: str,
        size: int,
        *,
        seed: int,
        step: int = 0,
        purpose: str = "training",
        dtype: torch.dtype = torch.float32,
    ) -> Batch:
        """Return the prompts of one step, the same whatever was drawn before.

        Inputs and noise do not depend on the distribution: at one seed and step, prompts of two
        distributions differ in their tasks alone, which makes comparisons sharper.

        Args:
            distribution: Its name in :data:`DISTRIBUTIONS`, such as ``mix``.
            size: How many prompts.
            seed: The seed of the run.
            step: Which batch.
            purpose: ``training`` or ``evaluation``, which never share prompts.
            dtype: Of what is returned; the numbers are drawn in float64.

        Raises:
            UserError: No such distribution or purpose, or ``size`` below one.
        """
        check_count("size", size)
        tasks, inputs, noises = (
            stream(seed, name, step, purpose=purpose) for name in ("tasks", "inputs", "noise")
        )
        weights, is_discrete = self.tasks(distribution).draw(size, tasks)
        shape = (size, self.n_points)
        normal = torch.randn(*shape, self.n_dims, generator=inputs, dtype=torch.float64)
        # Rounded before the labels are made, so that without noise they fit the inputs exactly.
        xs = (normal if self._input_root is None else normal @ self._input_root.T).to(dtype)
        targets = (self.features(xs.to(torch.float64)) @ weights[:, :, None]).squeeze(-1)
        noise = torch.randn(shape, generator=noises, dtype=torch.float64)
        ys = targets + self.noise_std * noise
        return Batch(xs, ys.to(dtype), targets.to(dtype), weights.to(dtype), is_discrete)

    @cached_property
    def _input_root(self) -> Tensor | None:
        """The Cholesky factor of Σ."""
        if self.input_covariance is None:
            return None
        try:
            covariance = torch.tensor(self.input_covariance, dtype=torch.float64)
        except ValueError:
            covariance = torch.empty(0)
        if covariance.shape != (self.n_dims, self.n_dims):
            raise UserError(
                f"input_covariance must have {self.n_dims} rows of {self.n_dims} numbers, as "
                f"n_dims is {self.n_dims}."
            )
        root: Tensor
        root, failed = torch.linalg.cholesky_ex(covariance)
        if failed or not torch.equal(covariance, covariance.T) or not root.isfinite().all():
            raise UserError("input_covariance must be symmetric and positive definite; it is not.")
        return root


def exact_predictors(problem: Problem) -> dict[str, Predictor]:
    """Return the closed forms for a problem by name; all take its x, whatever the function class.

    Example:
        >>> list(exact_predictors(Problem(n_dims=2, n_tasks=3, n_exemplars=5)))
        ['ridge', 'discrete', 'mixture', 'least-squares', 'zero']
    """
    found: dict[str, Predictor] = {
        "ridge": GaussianTasks.of(problem).bayes(problem.noise_std),
        "discrete": problem.discrete.bayes(problem.noise_std),
        "mixture": MixtureTasks.of(problem).bayes(problem.noise_std),
        "least-squares": OrdinaryLeastSquares(),
    }
    on_features = {name: OnFeatures(one, problem.features) for name, one in found.items()}
    return {**on_features, "zero": predict_zero}


def exact_pass(
    problem: Problem,
    xs: Float[Tensor, "batch points dims"],
    ys: Float[Tensor, "batch points"],
) -> MixturePass:
    """Return the Bayes mixture of a problem and all that it is made from.

    Raises:
        UserError: Prompts of other dimensions than the problem's.
    """
    if xs.shape[-1] != problem.n_dims:
        raise UserError(
            f"The prompts have {xs.shape[-1]} dimensions; the problem has {problem.n_dims}."
        )
    mixture = MixtureTasks.of(problem).bayes(problem.noise_std)
    return mixture.all(problem.features(xs.to(torch.float64)), ys)


def is_same(first: Tensor, second: Tensor) -> bool:
    """Tell whether two tables of float64 are one, to rounding."""
    return bool(((first - second).abs() <= _SAME * second.abs().max()).all())
