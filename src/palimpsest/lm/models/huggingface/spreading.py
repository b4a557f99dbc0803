"""A model over several devices, where it does not fit on one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from palimpsest.errors import UserError, from_extra

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Placed = Mapping[str, int | str]
"""The device of each part of a network by its name: a GPU's number, ``cpu`` or ``disk``."""

_WEIGHTS_SHARE = 0.8
"""Of a device's free memory; what is left is for caches and for what a layer computes."""


def free_memory_of_gpus() -> dict[int | str, int]:
    """Return how many bytes are free on each GPU that this process may use."""
    return {n: torch.cuda.mem_get_info(n)[0] for n in range(torch.cuda.device_count())}


def fits(n_bytes: int, free: int) -> bool:
    """Return whether weights fit on a device."""
    return n_bytes <= _WEIGHTS_SHARE * free


def place(
    network: PreTrainedModel, dtype: torch.dtype, free: Mapping[int | str, int], name: str
) -> Placed:
    """Return which part of a network goes where; layers stay whole.

    Args:
        network: Without values, on the meta device.
        dtype: That it is to have.
        free: Bytes of each device, the first to be filled first.
        name: The model's, for messages.

    Raises:
        MissingExtraError: ``accelerate`` is not installed.
        UserError: It does not fit on all of them together.
    """
    with from_extra("Models over several GPUs", package="accelerate", extra="trainer"):
        from accelerate import infer_auto_device_map
    n_bytes = sum(each.numel() for each in network.parameters()) * dtype.itemsize
    room = {device: int(_WEIGHTS_SHARE * each) for device, each in free.items()}
    placed: Placed = infer_auto_device_map(
        network,
        max_memory=room,
        no_split_module_classes=list(network._no_split_modules or ()),
        dtype=dtype,
    )
    if set(placed.values()) <= free.keys():
        return placed
    raise UserError(
        f"The weights of '{name}' take {_gib(n_bytes)}; {_devices(free)} have room for "
        f"{_gib(sum(room.values()))}, besides what answering takes.",
        hint="Use a smaller dtype (dtype=bfloat16), more GPUs (with --engine processes, fewer "
        "--workers, as they share them), or device=cpu.",
    )


def _devices(free: Mapping[int | str, int]) -> str:
    return f"{len(free)} GPUs" if len(free) > 1 else "1 GPU"


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**28 else f"{n_bytes / 2**20:.1f} MiB"
