"""Checkpoints of a training: ``checkpoints:DIR``, as transformers' Trainer writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from palimpsest.errors import UserError
from palimpsest.families.member import Member, Rows, TensorPair
from palimpsest.files import parse_json, read_bytes

if TYPE_CHECKING:
    from palimpsest.specs import Spec

_STEP = re.compile(r"checkpoint-(\d+)")
_LAST_WRITTEN = "trainer_state.json"
"""What the Trainer writes when all else of a checkpoint is there."""


class SavedStep(NamedTuple):
    """A folder of a training's output with a checkpoint in it."""

    step: int
    folder: Path

    is_whole: bool
    """Whether the training has written all of it: the state that a Trainer writes last, where the
    folder's other checkpoints have one, every shard that an index names, and files of their full
    length."""


def saved_steps(folder: Path) -> list[SavedStep]:
    """Return the checkpoints in a training's output folder by step, unfinished ones included.

    Raises:
        UserError: There is no such folder.
    """
    if not folder.is_dir():
        raise UserError(
            f"There is no folder '{folder}' with checkpoints.",
            hint="Name a Trainer's output folder, the one with checkpoint-100 and so on.",
        )
    found = {
        int(match[1]): path
        for path in folder.iterdir()
        if (match := _STEP.fullmatch(path.name)) and path.is_dir()
    }
    # Checkpoints of other tools have no such file at all.
    expected = any((path / _LAST_WRITTEN).is_file() for path in found.values())
    return [
        SavedStep(step, found[step], _is_whole(found[step], expected)) for step in sorted(found)
    ]


def _is_whole(folder: Path, is_marked: bool) -> bool:
    if is_marked and not (folder / _LAST_WRITTEN).is_file():
        return False
    files = [*folder.glob("*.safetensors"), *folder.glob("*model*.bin")]
    listed = {
        name
        for index in folder.glob("*.index.json")
        for name in parse_json(read_bytes(index), f"'{index}'").get("weight_map", {}).values()
    }
    return bool(files) and listed <= {path.name for path in files} and all(map(_is_as_long, files))


def _is_as_long(path: Path) -> bool:
    """Return whether a file of weights is as long as it says."""
    if path.suffix != ".safetensors":
        return True
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            return True
    except (SafetensorError, OSError):
        return False


@dataclass(frozen=True)
class TrainingCheckpoint(Member):
    """The checkpoints in a Trainer's output folder, by step: checkpoints:runs/tuned."""

    folder: Path
    step: int

    name: ClassVar[str] = "checkpoints"
    source: ClassVar[str] = "a checkpoint of the training"
    formula: ClassVar[str] = "W = W_step"
    is_mixture: ClassVar[bool] = False

    @property
    def spec(self) -> str:  # noqa: D102
        return f"{self.name}:{self.folder}"

    @property
    def title(self) -> str:  # noqa: D102
        return f"step {self.step:,}"

    @classmethod
    def parse(cls, spec: Spec) -> tuple[Member, ...]:
        """Return a member for each whole checkpoint of a folder, or for the one that is named.

        Raises:
            UserError: There is no whole checkpoint.
        """
        spec.allow([])
        folder = Path(spec.target).expanduser()
        if match := _STEP.fullmatch(folder.name):
            return (cls(folder, int(match[1])),)
        steps = saved_steps(folder)
        whole = [each for each in steps if each.is_whole]
        if not whole:
            raise UserError(
                f"The folder '{folder}' has no checkpoint"
                + (" that is wholly written." if steps else "."),
                hint="Expected folders such as checkpoint-100, as a Trainer writes them; wait for "
                "the first.",
            )
        return tuple(cls(each.folder, each.step) for each in whole)

    def rows(self, pair: TensorPair) -> Rows:
        """Never return: a checkpoint's tensors are its own."""
        raise TypeError(f"'{self.spec}' is not made of other tensors")
