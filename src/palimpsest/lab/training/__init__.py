"""Pretraining and tuning of the laboratory's models, with remedies against forgetting."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lab.training.loop import Loop, Running, Source, Training
    from palimpsest.lab.training.remedies import REMEDIES, Remedy, Tuning
    from palimpsest.lab.training.train import check_fit, finetune, pretrain

__all__ = [
    "REMEDIES", "Loop", "Remedy", "Running", "Source", "Training", "Tuning", "check_fit",
    "finetune", "pretrain",
]  # fmt: skip

lazy_face(globals())
