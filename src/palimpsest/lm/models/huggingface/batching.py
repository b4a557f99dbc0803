"""Batches of similar length under a token budget, and what to do when memory runs out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from palimpsest.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

_ACCELERATOR_TOKENS = 65536

_CPU_WORK = 4 * 10**11
"""Tokens × parameters of a batch on the CPU: some seconds, so that answers keep coming in."""

_FEWEST_CPU_TOKENS = 2048
_MOST_CPU_TOKENS = 32768
_MEMORY_SHARE = 0.4
"""How much of the free memory a batch may take by our estimate, which leaves out fragments."""

_MEMORY_MESSAGES = ("not enough memory", "can't allocate memory", "out of memory")


class BatchBudget:
    """How much goes into one batch; halved whenever memory runs out.

    Args:
        n_tokens: Rows × columns of a batch, padding and room for new tokens included.
    """

    def __init__(self, n_tokens: int) -> None:
        self.n_tokens = n_tokens
        self.n_rows: int | None = None

    def rows(self, n_columns: int) -> int:
        """Return how many rows of ``n_columns`` go together, at least one."""
        fitting = max(1, self.n_tokens // max(1, n_columns))
        return min(fitting, self.n_rows or fitting)

    def halve(self, n_rows: int, error: BaseException) -> None:
        """Allow half of ``n_rows`` from now on.

        Raises:
            UserError: A single row did not fit.
        """
        if n_rows <= 1:
            raise UserError(
                "There is not enough memory for a single prompt of this suite.",
                hint="Use a smaller dtype (dtype=bfloat16), a device with more memory, "
                "or shorter prompts.",
            ) from error
        self.n_rows = n_rows // 2


def is_out_of_memory(error: BaseException) -> bool:
    """Tell a lack of memory from other errors; on the CPU torch raises a plain RuntimeError."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in _MEMORY_MESSAGES)


def free_memory(device: torch.device) -> None:
    """Collect what nobody refers to any more, and give cached blocks back to the device."""
    import gc

    gc.collect()
    empty_cache(device)


def empty_cache(device: torch.device) -> None:
    """Give cached blocks back to the device."""
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def default_budget(config: PreTrainedConfig, device: torch.device, n_bytes: int) -> int:
    """Return a number of tokens per batch that is fast and fits into the memory that is free.

    Args:
        config: Of the model.
        device: Where it runs.
        n_bytes: Per number, by the model's dtype.
    """
    wanted = _ACCELERATOR_TOKENS
    if device.type == "cpu":
        fast = _CPU_WORK // _n_block_parameters(config)
        wanted = min(max(fast, _FEWEST_CPU_TOKENS), _MOST_CPU_TOKENS)
    free = _free_bytes(device)
    if free is None:
        return wanted
    return max(1, min(wanted, int(_MEMORY_SHARE * free / _bytes_per_token(config, n_bytes))))


def _n_block_parameters(config: PreTrainedConfig) -> int:
    """Estimate the parameters of all blocks by the usual proportions of a transformer."""
    text = config.get_text_config(decoder=True)
    width = int(getattr(text, "hidden_size", None) or 4096)
    return 12 * int(getattr(text, "num_hidden_layers", None) or 32) * width**2


def _bytes_per_token(config: PreTrainedConfig, n_bytes: int) -> int:
    text = config.get_text_config(decoder=True)
    width = int(getattr(text, "hidden_size", None) or 4096)
    layers = int(getattr(text, "num_hidden_layers", None) or 32)
    heads = int(getattr(text, "num_attention_heads", None) or 1)
    key_heads = int(getattr(text, "num_key_value_heads", None) or heads)
    head_width = int(getattr(text, "head_dim", None) or width // heads)
    inner = int(getattr(text, "intermediate_size", None) or 4 * width)
    cache = 2 * layers * key_heads * head_width
    activations = 8 * width + 3 * inner  # of one layer; they are freed before the next
    return n_bytes * (cache + activations)


def _free_bytes(device: torch.device) -> int | None:
    """Return what is free on the device, or ``None`` where the system does not say."""
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable: +(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None
