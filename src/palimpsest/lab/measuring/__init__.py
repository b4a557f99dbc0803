"""Measures of what tuning has done to a predictor: losses, inference, recovery, closeness."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lab.measuring.bench import (
        Bench,
        Measuring,
        curve_steps,
        measure_losses,
    )
    from palimpsest.lab.measuring.comparison import compare
    from palimpsest.lab.measuring.convergence import check_base, measure_convergence

__all__ = [
    "Bench", "Measuring", "check_base", "compare", "curve_steps", "measure_convergence",
    "measure_losses",
]  # fmt: skip

lazy_face(globals())
