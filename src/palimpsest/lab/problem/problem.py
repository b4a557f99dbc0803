r"""A regression problem, and its batches of prompts.

.. math:: x ∼ N(0, Σ), \qquad y = ⟨w, φ(x)⟩ + ε, \qquad ε ∼ N(0, σ^2)

Source: Kotha, Springer and Raghunathan, ICLR 2024 (arXiv 2309.10105), Section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import digest
from palimpsest.lab.problem.checks import check_count, check_share, check_std
from palimpsest.lab.problem.features import Features, features_of
from palimpsest.lab.problem.streams import stream
from palimpsest.lab.problem.tasks import DiscreteTasks, GaussianTasks, MixtureTasks, Tasks

DISTRIBUTIONS = ("mix", "disc", "cont")
"""``D_mix``, ``D_disc`` and ``D_cont``."""


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
        check_count("n_dims", self.n_dims)
        check_count("n_tasks", self.n_tasks)
        check_count("n_exemplars", self.n_exemplars)
        check_std("noise_std", self.noise_std, zero_allowed=True)
        check_std("weight_std", self.weight_std, zero_allowed=False)
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

    @property
    def gaussian(self) -> GaussianTasks:
        """The tasks of ``D_cont``."""
        return GaussianTasks(self.features.n_features, self.weight_std)

    @property
    def mixture(self) -> MixtureTasks:
        """The tasks of ``D_mix``."""
        return MixtureTasks(self.alpha, self.discrete, self.gaussian)

    @cached_property
    def task_fingerprint(self) -> str:
        """A hash of the discrete set, which a checkpoint is compared by."""
        return digest(self.discrete.weights.numpy().tobytes())

    def tasks(self, distribution: str) -> Tasks:
        """Return the tasks of a distribution.

        Raises:
            UserError: No such distribution.
        """
        if distribution not in DISTRIBUTIONS:
            raise UserError(
                f"No distribution named '{distribution}'."
                f"{did_you_mean(distribution, DISTRIBUTIONS)}",
                hint=f"There are: {', '.join(DISTRIBUTIONS)}.",
            )
        if distribution == "disc":
            return self.discrete
        return self.mixture if distribution == "mix" else self.gaussian

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
            distribution: ``mix``, ``disc`` or ``cont``.
            size: How many prompts.
            seed: The seed of the run.
            step: Which batch.
            purpose: ``training`` or ``evaluation``, which never share prompts.
            dtype: Of what is returned; the numbers are drawn in float64.

        Raises:
            UserError: No such distribution or purpose, or ``size`` below one.
        """
        check_count("size", size)
        draws = {name: stream(seed, name, step, purpose=purpose) for name in _BATCH_STREAMS}
        weights, is_discrete = self._draw(distribution, size, draws["tasks"])
        shape = (size, self.n_points)
        normal = torch.randn(*shape, self.n_dims, generator=draws["inputs"], dtype=torch.float64)
        # Rounded before the labels are made, so that without noise they fit the inputs exactly.
        xs = (normal if self._input_root is None else normal @ self._input_root.T).to(dtype)
        targets = (self.features(xs.to(torch.float64)) @ weights[:, :, None]).squeeze(-1)
        noise = torch.randn(shape, generator=draws["noise"], dtype=torch.float64)
        ys = targets + self.noise_std * noise
        return Batch(xs, ys.to(dtype), targets.to(dtype), weights.to(dtype), is_discrete)

    def _draw(
        self, distribution: str, size: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        tasks = self.tasks(distribution)
        if isinstance(tasks, MixtureTasks):
            return tasks.draw(size, generator)
        is_discrete = torch.full((size,), isinstance(tasks, DiscreteTasks))
        return tasks.sample(size, generator), is_discrete

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


_BATCH_STREAMS = ("tasks", "inputs", "noise")


def skewed_covariance(n_dims: int, *, power: float = 2.0) -> tuple[tuple[float, ...], ...]:
    r"""Return a diagonal covariance with variances :math:`∝ 1/i^p` that sum to d.

    Source: Garg, Tsipras, Liang and Valiant, NeurIPS 2022 (arXiv 2208.01066), Section 4, has
    p = 2.

    Example:
        >>> skewed_covariance(2)
        ((1.6, 0.0), (0.0, 0.4))
    """
    check_count("n_dims", n_dims)
    raw = [(i + 1) ** -power for i in range(n_dims)]
    values = [n_dims * value / sum(raw) for value in raw]
    return tuple(tuple(values[i] if i == j else 0.0 for j in range(n_dims)) for i in range(n_dims))
