"""Regression problems: distributions of tasks, features, and the random streams behind them."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lab.problem.features import Features
    from palimpsest.lab.problem.problem import (
        Batch,
        DiscreteTasks,
        Draw,
        Problem,
        TaskDistribution,
        exact_pass,
        exact_predictors,
        is_same,
    )

__all__ = [
    "Batch", "DiscreteTasks", "Draw", "Features", "Problem", "TaskDistribution", "exact_pass",
    "exact_predictors", "is_same",
]  # fmt: skip

lazy_face(globals())
