"""The embedded pair: ``rosetta:base`` and ``rosetta:tuned``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.models import ROSETTA_WEIGHTS
from palimpsest.lm.models.huggingface import load as load_checkpoint
from palimpsest.specs import Spec

if TYPE_CHECKING:
    from palimpsest.lm.models.huggingface import HuggingFaceModel

NAMES = ("base", "tuned")


def load(spec: Spec) -> HuggingFaceModel:
    """The small pair of models that comes with the package; options as for ``hf``."""
    if spec.target not in NAMES:
        raise UserError(
            f"No Rosetta model named '{spec.target}'.{did_you_mean(spec.target, NAMES)}",
            hint="There are two: rosetta:base and rosetta:tuned.",
        )
    folder = ROSETTA_WEIGHTS / spec.target
    if not folder.is_dir():
        raise UserError(
            f"The weights of 'rosetta:{spec.target}' are not in this installation.",
            hint="Reinstall the package, or train them with: palimpsest rosetta train",
        )
    return load_checkpoint(replace(spec, target=str(folder)))
