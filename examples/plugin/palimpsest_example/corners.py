"""Regression tasks whose weights are the corners of a cube."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from palimpsest.lab.predictors import Predictor
from palimpsest.lab.problem import DiscreteTasks, Draw, Problem, TaskDistribution

MOST_DIMS = 12
"""Up to which all corners are gone through."""


@dataclass(frozen=True)
class CornerTasks(TaskDistribution):
    """Every weight is τ or −τ, by the toss of a coin.

    Example:
        >>> CornerTasks(3).draw(2, torch.Generator().manual_seed(0)).weights.abs().tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    n_dims: int
    weight_std: float = 1.0

    @classmethod
    def of(cls, problem: Problem) -> CornerTasks:
        """Return those of a problem's number of features and τ."""
        return cls(problem.features.n_features, problem.weight_std)

    def draw(self, n: int, generator: torch.Generator) -> Draw:
        """Toss a coin for each weight."""
        bits = torch.randint(2, (n, self.n_dims), generator=generator)
        weights = self.weight_std * (1.0 - 2.0 * bits.double())
        return Draw(weights, torch.zeros(n, dtype=torch.bool))

    def bayes(self, noise_std: float) -> Predictor | None:
        """Return the mean over all corners; there are too many of them in many dimensions."""
        if self.n_dims > MOST_DIMS:
            return None
        corners = list(itertools.product((-1.0, 1.0), repeat=self.n_dims))
        table = self.weight_std * torch.tensor(corners, dtype=torch.float64)
        return DiscreteTasks(table).bayes(noise_std)

    def keeps(self, change: Tensor) -> bool:
        """Tell whether the change puts the axes into another order, or turns some around."""
        return bool(((change.abs() - change.abs().round()).abs() < 1e-9).all())
