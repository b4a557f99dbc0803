"""Measurements that are spaced so that a training takes at most a stated share longer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from palimpsest.errors import UserError


class Pace:
    """Tells the time of measuring from the time of training, and when to measure again.

    The first measurement and the last one are always made: they say what the training did. What
    they leave of the share is spent on measurements in between, evenly over the steps. All of
    them count, the first and the last included. The plan is made anew at every question, from the
    time that steps and measurements have really taken, and holds for the training as a whole.

    Args:
        max_share: Seconds of measuring for each second of training, at most; ``None`` sets no
            limit.
        clock: Gives seconds.

    Raises:
        UserError: A share that is not above zero.

    Example:
        >>> now = 0.0
        >>> pace = Pace(0.1, clock=lambda: now)
        >>> with pace.measuring():
        ...     now += 5.0
        >>> now += 20.0  # 20 steps of 150: 15 s may be spent, on the start, the end, and one more
        >>> pace.spacing(step=20, n_steps=150, last=0)
        75.0
    """

    def __init__(
        self, max_share: float | None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        if max_share is not None and not max_share > 0:
            raise UserError(
                f"The share max_share is {max_share}; expected a number above zero.",
                hint="Write 0.05 for 5 % of the training time, or None for no limit.",
            )
        self.max_share = max_share
        self._clock = clock
        self._started = clock()
        self._measured = 0.0
        self._trained_before = 0.0
        self._since: float | None = None
        self.cost_seconds = 0.0
        """The newest measurement that is finished."""

    def resume(
        self, *, measuring_seconds: float, training_seconds: float, cost_seconds: float
    ) -> None:
        """Take over the times of a training that was interrupted."""
        self._measured = measuring_seconds
        self.cost_seconds = cost_seconds
        self._trained_before = training_seconds
        self._started = self._clock() - measuring_seconds - training_seconds

    @property
    def measuring_seconds(self) -> float:
        """All measurements so far, also one that is under way."""
        return self._measured + (0.0 if self._since is None else self._clock() - self._since)

    @property
    def training_seconds(self) -> float:
        """All the time so far that went into the training and not into measuring."""
        return self._clock() - self._started - self.measuring_seconds

    @property
    def share(self) -> float:
        """Seconds of measuring for each second of training, so far."""
        training = self.training_seconds
        return self.measuring_seconds / training if training > 0 else math.inf

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Count what happens inside as one measurement."""
        self._trained_before = self.training_seconds
        self._since = self._clock()
        try:
            yield
        finally:
            self.cost_seconds = self._clock() - self._since
            self._measured += self.cost_seconds
            self._since = None

    def spacing(self, *, step: int, n_steps: int, last: int) -> float:
        """Return how many steps should lie between measurements; infinity for none at all.

        Args:
            step: Steps done so far.
            n_steps: Steps of the whole training.
            last: The step of the newest measurement, an earlier one.
        """
        if self.max_share is None:
            return 0.0
        # Only the newest steps tell how long the others will take: the first ones warm up.
        step_seconds = (self.training_seconds - self._trained_before) / (step - last)
        whole = self.training_seconds + step_seconds * (n_steps - step)
        left = self.max_share * whole - self.measuring_seconds
        # A hair more, lest rounding take away the one that just fits.
        n_between = math.floor(left / max(self.cost_seconds, 1e-9) + 1e-6) - 1
        return (n_steps - last) / (n_between + 1) if n_between > 0 else math.inf
