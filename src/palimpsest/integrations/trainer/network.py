"""Network in the middle of its training: whole, undisturbed, asked by the first process alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import nn

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
    from accelerate.utils import broadcast_object_list

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
    assert isinstance(network, nn.Module)
    return network  # type: ignore[return-value]


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and every module and generator back afterwards.

    Modes are set one by one and not by ``network.eval()``: a module may have a mode of its own,
    such as a frozen one, and some merge weights when they are told.

    Kept are the states of Python's, NumPy's and torch's generators, on the CPU and on every
    accelerator that holds a part of the network. Gradients are not touched, since nothing inside
    computes any.
    """
    modes = [(module, module.training) for module in network.modules()]
    python, numpy_ = random.getstate(), np.random.get_state()  # noqa: NPY002 - others use it
    devices = {parameter.device for parameter in network.parameters()}
    kinds = {device.type for device in devices} - {"cpu", "meta"}
    mps = torch.mps.get_rng_state() if "mps" in kinds else None  # which fork_rng does not know
    (kind,) = kinds - {"mps"} or {"cuda"}  # one kind a process, perhaps several of that kind
    indices = [device.index or 0 for device in devices if device.type == kind]
    with torch.random.fork_rng(devices=indices, device_type=kind):
        try:
            for module, _ in modes:
                module.training = False
            yield
        finally:
            for module, training in modes:
                module.training = training
            random.setstate(python)
            np.random.set_state(numpy_)  # noqa: NPY002
            if mps is not None:
                torch.mps.set_rng_state(mps)
