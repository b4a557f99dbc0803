"""How long a run will take, from a few updates made for it."""

from __future__ import annotations

import time
from dataclasses import replace

from palimpsest.lab.runs.config import Config
from palimpsest.lab.training.loop import Running
from palimpsest.lab.training.settings import Training
from palimpsest.lab.training.train import pretrain

_N_STEPS = 4
"""The first may be slow; the others are timed."""


def estimate_seconds(config: Config) -> float:
    """Return about how many seconds the trainings of a run take; measuring comes on top.

    Example:
        >>> from palimpsest.lab.runs.config import load_config
        >>> few = ["pretrain.n_steps=10", "finetune.n_steps=10", "remedies.replay=[]"]
        >>> 0 < estimate_seconds(load_config("tiny", few)) < 600
        True
    """
    n_trained = len([name for name, _ in config.remedies.named() if "interpol" not in name])
    total = config.pretrain.n_steps * _seconds_per_step(config, config.pretrain)
    each = _seconds_per_step(config, config.finetune)
    return total + (1 + n_trained) * config.finetune.n_steps * each


def _seconds_per_step(config: Config, training: Training) -> float:
    moments: list[float] = []
    short = replace(training, n_steps=_N_STEPS, compile=False)
    running = Running(
        device=config.device, on_progress=lambda progress: moments.append(time.monotonic())
    )
    pretrain(config.problem, config.transformer, short, running=running)
    return (moments[-1] - moments[0]) / (_N_STEPS - 1)
