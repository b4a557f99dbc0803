"""Several processes train one model: the first measures, and all do what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch

from palimpsest.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer

Result = TypeVar("Result")


def on_first_rank(trainer: Trainer, decide: Callable[[], Result]) -> Result:
    """Return what the first process finds, in every process.

    The others wait; an error of the first ends all of them, instead of leaving them to wait.

    Raises:
        UserError: The first process failed; it itself raises its own error.
    """
    if trainer.args.world_size == 1:
        return decide()
    from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]

    failure: Exception | None = None
    found: Result | None = None
    if trainer.is_world_process_zero():
        try:
            found = decide()
        except Exception as error:
            failure = error
    box = [found, None if failure is None else f"{type(failure).__name__}: {failure}"]
    broadcast_object_list(box, from_process=0)
    if failure is not None:
        raise failure
    if box[1] is not None:
        raise UserError(f"The first process failed while it measured: {box[1]}")
    return box[0]  # type: ignore[return-value]


def unwrapped(trainer: Trainer) -> PreTrainedModel:
    """Return the network that is trained, without what distributes or compiles it.

    Autocast stays around its ``forward``: taking it off would change the training.

    Raises:
        UserError: No process holds the whole network.
    """
    network = trainer.accelerator.unwrap_model(
        trainer.model, keep_fp32_wrapper=True, keep_torch_compile=False
    )
    sharded = trainer.is_fsdp_enabled or any(
        hasattr(parameter, "ds_id") or hasattr(parameter, "to_local")
        for parameter in network.parameters()
    )
    if sharded:
        raise UserError(
            "The weights are divided among processes (FSDP, ZeRO-3 or tensor parallelism), so that "
            "none of them can ask the model by itself.",
            hint="Use DDP or ZeRO up to stage 2, or run 'palimpsest diagnose' on the checkpoints.",
        )
    assert isinstance(network, torch.nn.Module)
    return network  # type: ignore[return-value]
