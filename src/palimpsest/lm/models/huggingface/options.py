"""The options of a Hugging Face model, and the device and dtype that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch

from palimpsest.errors import UserError
from palimpsest.specs import Spec

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


@dataclass(frozen=True)
class HuggingFaceOptions:
    """What may follow ``hf:PATH_OR_ID``."""

    dtype: str = "auto"
    """``auto`` is the checkpoint's on an accelerator and ``float32`` on the CPU."""

    device: str = "auto"
    """``auto`` is the first of ``cuda``, ``mps``, ``cpu`` that is there."""

    adapter: str | None = None
    """A PEFT adapter, folder or id, on top of the model."""

    chat: bool = False
    """Whether plain text is sent as one user message through the chat template."""

    revision: str | None = None
    """A branch, tag or commit on the Hub."""

    batch_tokens: int | None = None
    """Rows × columns of a batch; by default chosen from the device and its free memory."""

    trust_remote_code: bool = False
    """Whether Python code in the checkpoint may run."""

    pickle: bool = False
    """Whether pickle weights may be opened where there are no safetensors."""

    @classmethod
    def parse(cls, spec: Spec) -> HuggingFaceOptions:
        """Read the options of ``spec``.

        Raises:
            UserError: An option is unknown, or its value is not of its kind.
        """
        spec.allow([field.name for field in fields(cls)])
        values: dict[str, object] = dict(spec.options)
        values |= {name: spec.flag(name) for name in ("chat", "trust_remote_code", "pickle")}
        if "batch_tokens" in spec.options:
            values["batch_tokens"] = spec.count("batch_tokens", 8192)
        options = cls(**values)  # type: ignore[arg-type]
        if options.dtype != "auto" and options.dtype not in DTYPES:
            raise UserError(
                f"No dtype named '{options.dtype}'.",
                hint="Use auto, float32, float16 or bfloat16.",
            )
        return options


def choose_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is the first of cuda, mps and cpu that works.

    Raises:
        UserError: No such device, or it is not available here.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if name == "auto":
        return torch.device(available[0])
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(
            f"No device named '{name}'.", hint=f"Available here: auto, {', '.join(available)}."
        ) from error
    n_cuda = torch.cuda.device_count() if "cuda" in available else 0
    if device.type not in available or (device.type == "cuda" and (device.index or 0) >= n_cuda):
        raise UserError(
            f"The device '{name}' is not available.",
            hint=f"Available here: auto, {', '.join(available)}.",
        )
    return device


def choose_dtype(name: str, config: PreTrainedConfig, device: torch.device) -> torch.dtype:
    """Return the dtype called ``name``; ``auto`` is float32 on the CPU, else the checkpoint's."""
    if name != "auto":
        return DTYPES[name]
    stored = getattr(config, "dtype", None)
    if device.type == "cpu" or not isinstance(stored, torch.dtype):
        return torch.float32
    return stored
