"""Real checkpoints on the way from Rosetta's base to its tuned model, made without a training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from palimpsest.lm.models import ROSETTA_WEIGHTS

STEPS = {10: 0.1, 20: 0.5, 30: 0.9}
"""Steps to the share of the whole change that is made by then."""


def write_checkpoint(folder: Path, share: float, *, step: int, most: int = 30) -> Path:
    """Write a checkpoint as a Trainer does, its state last; return the folder."""
    base, tuned = (ROSETTA_WEIGHTS / name for name in ("base", "tuned"))
    folder.mkdir(parents=True)
    for path in base.iterdir():
        if path.suffix != ".safetensors":
            shutil.copyfile(path, folder / path.name)
    weights = [load_file(path / "model.safetensors") for path in (base, tuned)]
    mixed = {
        name: before + share * (weights[1][name] - before) for name, before in weights[0].items()
    }
    save_file(mixed, folder / "model.safetensors", metadata={"format": "pt"})
    state = {"global_step": step, "max_steps": most}
    (folder / "trainer_state.json").write_text(json.dumps(state), "utf-8")
    return folder


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Trainer's output folder."""
    folder = tmp_path_factory.mktemp("training")
    for step, share in STEPS.items():
        write_checkpoint(folder / f"checkpoint-{step}", share, step=step)
    return folder
