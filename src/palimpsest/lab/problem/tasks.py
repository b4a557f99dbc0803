r"""Distributions of tasks: what weights w a prompt's answers are made with, y = ⟨w, φ(x)⟩ + ε.

Source: Kotha, Springer and Raghunathan, ICLR 2024 (arXiv 2309.10105), Section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.problem.checks import check_count, check_share, check_std


class Draw(NamedTuple):
    """Tasks drawn from a mixture."""

    weights: Float[Tensor, "n dims"]
    is_discrete: Bool[Tensor, " n"]
    """Which of them came from the discrete part."""


@dataclass(frozen=True)
class GaussianTasks:
    r"""Weights from :math:`N(0, τ^2 I)`: the tasks of ``D_cont``.

    Raises:
        UserError: ``n_dims`` below one, or a negative ``weight_std``.
    """

    n_dims: int
    """Length of the weight vectors: the number of features, d for linear functions."""
    weight_std: float = 1.0
    """τ."""

    def __post_init__(self) -> None:
        check_count("n_dims", self.n_dims)
        check_std("weight_std", self.weight_std, zero_allowed=True)

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n dims"]:
        """Draw ``n`` weight vectors, in float64."""
        draws = torch.randn(n, self.n_dims, generator=generator, dtype=torch.float64)
        return self.weight_std * draws


@dataclass(frozen=True, eq=False)
class DiscreteTasks:
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
        cls,
        n_tasks: int,
        n_dims: int,
        weight_std: float,
        generator: torch.Generator,
    ) -> DiscreteTasks:
        r"""Fix ``n_tasks`` weight vectors, drawn from :math:`N(0, τ^2 I)` once.

        Raises:
            UserError: A count below one, or a negative ``weight_std``.

        Example:
            >>> tasks = DiscreteTasks.drawn(64, 10, 1.0, torch.Generator().manual_seed(0))
            >>> tasks.n_tasks, tasks.n_dims
            (64, 10)
        """
        check_count("n_tasks", n_tasks)
        return cls(GaussianTasks(n_dims, weight_std).sample(n_tasks, generator))

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return self.weights.shape[0]

    @property
    def n_dims(self) -> int:
        """Length of the weight vectors."""
        return self.weights.shape[1]

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n dims"]:
        """Draw ``n`` of the weight vectors, with replacement, in float64."""
        return self.weights[torch.randint(self.n_tasks, (n,), generator=generator)]


@dataclass(frozen=True, eq=False)
class MixtureTasks:
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
        if self.discrete.n_dims != self.gaussian.n_dims:
            raise UserError(
                "Both parts of a mixture need weights of one length; got "
                f"{self.discrete.n_dims} (discrete) and {self.gaussian.n_dims} (Gaussian)."
            )

    @property
    def n_dims(self) -> int:
        """Length of the weight vectors."""
        return self.gaussian.n_dims

    def draw(self, n: int, generator: torch.Generator) -> Draw:
        """Draw ``n`` weight vectors, in float64, with the part that each came from.

        Both parts are drawn in full, so that another α leaves what each part gives unchanged.
        """
        is_discrete = torch.rand(n, generator=generator, dtype=torch.float64) < self.alpha
        discrete = self.discrete.sample(n, generator)
        gaussian = self.gaussian.sample(n, generator)
        return Draw(torch.where(is_discrete[:, None], discrete, gaussian), is_discrete)

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n dims"]:
        """Draw ``n`` weight vectors, in float64."""
        return self.draw(n, generator).weights


Tasks = GaussianTasks | DiscreteTasks | MixtureTasks
"""Any of the three."""
