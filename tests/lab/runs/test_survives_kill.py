"""A training that is killed at any moment continues, and ends with the same weights.

This file is also the program that gets killed:
``python -m tests.lab.runs.test_survives_kill FILE``.
"""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.lab.tiny import PROBLEM, SIZES, TRAINING

from palimpsest.lab.predictors.transformer import save_transformer
from palimpsest.lab.training.loop import Running
from palimpsest.lab.training.train import pretrain
from palimpsest.training.checkpoints import saved_step
from palimpsest.training.progress import Progress

LONG = replace(TRAINING, n_steps=200, save_every=5)


def _greet(progress: Progress) -> None:
    os.write(1, b"another step\n")
    time.sleep(0.005)


def run(folder: Path) -> None:
    """The program: one training, and its model in a file."""
    running = Running(checkpoint=folder / "state.safetensors", on_progress=_greet, device="cpu")
    save_transformer(pretrain(PROBLEM, SIZES, LONG, running=running), folder / "model.safetensors")


def _start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.lab.runs.test_survives_kill", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # the first step, or the end
    return process


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_killed_at_random_moments_it_ends_with_the_same_weights(
    tmp_path: Path, kill: signal.Signals
) -> None:
    draw = random.Random(1)
    path = tmp_path / "killed"
    n_kills = 0
    for _ in range(6):
        process = _start(path)
        time.sleep(draw.choice([0.02, 0.1, 0.4]) * (0.5 + draw.random()))
        process.send_signal(kill)
        _, problems = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL, 130), problems.decode()
        n_kills += process.returncode != 0
    assert n_kills >= 4
    assert saved_step(path / "state.safetensors") > 0
    process = _start(path)
    _, problems = process.communicate()
    assert process.returncode == 0, problems.decode()

    fresh = tmp_path / "fresh"
    run(fresh)
    for name in ("model.safetensors", "state.safetensors"):
        assert (path / name).read_bytes() == (fresh / name).read_bytes(), name


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
