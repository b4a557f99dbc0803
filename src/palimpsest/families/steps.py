"""Checkpoints of a training, found in folders, and whether they are wholly written."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from palimpsest.errors import UserError
from palimpsest.families.checkpoints import saved_steps
from palimpsest.files import read_bytes
from palimpsest.lm.models import parse_model_spec

SETTLED_SECONDS = 10.0
"""Without a Trainer's last file, a checkpoint is whole when nothing in it has changed so long."""

_CLOCK_SECONDS = 30.0
"""By how much the clocks of two machines may differ."""

STATE = "trainer_state.json"
"""What a Trainer writes when all else of a checkpoint is there."""

_OF_A_TRAINER = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth")
"""What a Trainer writes before its last file."""

_STEP = re.compile(r"(\d+)$")


@dataclass(frozen=True)
class Step:
    """A checkpoint that can be asked."""

    step: int
    """Updates so far."""

    spec: str
    """Of the model."""

    folder: Path | None = None
    """Where it lies, if that is known."""


def find_steps(base: str, named: Sequence[str]) -> list[Step]:
    """Return the checkpoints that are wholly written, by step.

    Args:
        base: Spec of the base, on which checkpoints that are adapters are put.
        named: Specs of checkpoints; or one Trainer's output folder, for all in it.

    Raises:
        UserError: Two checkpoints are of the same step, or there is none of some spec.
    """
    folder = output_folder(named)
    if folder is not None:
        return [
            Step(each.step, spec_of(each.folder, base), each.folder)
            for each in saved_steps(folder)
            if each.is_whole and is_settled(each.folder)
        ]
    steps = [Step(_step_of(spec, place), _spec(spec, base)) for place, spec in enumerate(named, 1)]
    ordered = sorted(steps, key=lambda each: each.step)
    for one, other in pairwise(ordered):
        if one.step == other.step:
            raise UserError(
                f"'{one.spec}' and '{other.spec}' are both of step {one.step}.",
                hint="Name each checkpoint once.",
            )
    return ordered


def output_folder(named: Sequence[str]) -> Path | None:
    """Return the Trainer's output folder, if that is what was named: one with checkpoints in it."""
    if len(named) != 1:
        return None
    path = Path(named[0]).expanduser()
    is_model = any((path / name).is_file() for name in ("config.json", "adapter_config.json"))
    has_steps = path.is_dir() and any(path.glob("checkpoint-*"))
    return path if has_steps or (path.is_dir() and not is_model) else None


def spec_of(folder: Path, base: str) -> str:
    """Return the spec of a checkpoint, with the options that the base was given.

    A checkpoint with nothing but an adapter is put on the base.
    """
    parsed = parse_model_spec(base)
    if (folder / "adapter_config.json").is_file():
        return f"{base},adapter={folder}"
    options = {name: value for name, value in parsed.options.items() if name != "adapter"}
    return ",".join([f"hf:{folder}", *(f"{name}={value}" for name, value in options.items())])


def is_settled(folder: Path) -> bool:
    """Return whether nothing is being written in a checkpoint any more."""
    if (folder / STATE).is_file():
        return _last_step(folder) is not None
    if any((folder / name).is_file() for name in _OF_A_TRAINER):
        return False
    try:
        newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except OSError:  # a file that was there is gone: the training works on it
        return False
    age = time.time() - newest
    if age < -_CLOCK_SECONDS:
        raise UserError(
            f"The files in '{folder}' are dated {-age:.0f} s in the future: the clock of the disk "
            "and that of this machine differ, so nobody can tell whether they are being written.",
            hint="Set the clocks right (NTP), or name the checkpoints one by one.",
        )
    return age >= SETTLED_SECONDS


def has_ended(folder: Path) -> bool:
    """Return whether the newest checkpoint says that the training has made all of its steps."""
    steps = saved_steps(folder)
    if not steps or not is_settled(steps[-1].folder):
        return False
    state = _state(steps[-1].folder)
    step, most = state.get("global_step"), state.get("max_steps")
    return isinstance(step, int) and isinstance(most, int) and 0 < most <= step


def _state(folder: Path) -> dict[str, object]:
    """Return what a Trainer says of itself; nothing while it is writing that."""
    try:
        state = json.loads(read_bytes(folder / STATE))
    except (UserError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _last_step(folder: Path) -> int | None:
    step = _state(folder).get("global_step")
    return step if isinstance(step, int) else None


def _spec(spec: str, base: str) -> str:
    """Return a checkpoint's spec; a bare folder is opened as the base is."""
    path = Path(spec).expanduser()
    return spec_of(path, base) if path.is_dir() else spec


def _step_of(spec: str, place: int) -> int:
    """Return the step in a checkpoint's own state or name; its place among the others if none."""
    target = Path(parse_model_spec(spec).target).expanduser()
    if target.is_dir() and (step := _last_step(target)) is not None:
        return step
    match = _STEP.search(target.name)
    return int(match[1]) if match else place
