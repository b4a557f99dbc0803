"""Learning rates over the steps of a training, as shares of the peak."""

from __future__ import annotations

import math
from collections.abc import Callable


def rate_scale(schedule: str, step: int, *, n_steps: int, n_warmup_steps: int = 0) -> float:
    """Return the share of the peak rate at a step, counted from zero.

    All rise linearly over the warm-up. Then ``constant`` stays, ``linear`` and ``cosine`` fall to
    zero, and ``trapezoid`` stays and falls linearly to zero in the second half.

    Raises:
        KeyError: No such schedule.

    Example:
        >>> [rate_scale("trapezoid", step, n_steps=8, n_warmup_steps=2) for step in (0, 1, 4, 6)]
        [0.5, 1.0, 1.0, 0.5]
    """
    if step < n_warmup_steps:
        return (step + 1) / n_warmup_steps
    after_warmup = (step - n_warmup_steps) / max(1, n_steps - n_warmup_steps)
    return SCHEDULES[schedule](after_warmup, step / n_steps)


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "constant": lambda after_warmup, whole: 1.0,
    "linear": lambda after_warmup, whole: 1.0 - after_warmup,
    "cosine": lambda after_warmup, whole: 0.5 * (1 + math.cos(math.pi * after_warmup)),
    "trapezoid": lambda after_warmup, whole: min(1.0, 2 * (1 - whole)),
}
"""Names to shapes, over the share of the steps since the warm-up and that of all steps."""
