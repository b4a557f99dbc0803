"""Weights that lie in memory once for all processes that use them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from palimpsest.lm.models.huggingface.stored import STORED_DTYPES

_NAMES = {dtype: name for name, dtype in STORED_DTYPES.items()}


class SharedWeights:
    """A file in memory that belongs to another process, in which one of several puts its weights.

    transformers maps weights from their file, so that processes have them in common; but what is
    converted to another dtype, or fused, is a copy in each. Whoever comes first puts that copy
    here and seals it, and all use the one that is here. Without a seal, as its writer was killed,
    it is written anew. Linux alone has such files.

    Args:
        path: Of the file, such as ``/proc/123/fd/4``; it may be empty, or may have gone.
        key: Of what is in it: another model's weights may have taken its place.
    """

    def __init__(self, path: str, key: str) -> None:
        self._path = Path(path)
        self._key = key

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other process load meanwhile: two copies at a time are the most there are."""
        import fcntl

        try:
            file = os.open(self._path, os.O_RDONLY)
        except OSError:  # its owner ends, or the system hides it
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)

    def in_common(self, tensors: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Return the same tensors from the shared memory, or those given where there is none.

        Args:
            tensors: On the CPU, contiguous, by name.
        """
        import fcntl

        from safetensors import SafetensorError, safe_open

        try:
            with self._path.open("r+b") as file:
                # A file that is none of memory has no seals, and is an error here.
                if not fcntl.fcntl(file, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE:
                    _write(file, tensors, self._key)
                    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
                    fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
            with safe_open(self._path, framework="pt") as opened:
                found: Any = opened
                if (found.metadata() or {}).get("key") != self._key:
                    return tensors
                return {name: found.get_tensor(name) for name in tensors}
        except (OSError, KeyError, SafetensorError):  # KeyError: a dtype without a name
            return tensors

    def put(self, network: torch.nn.Module) -> None:
        """Replace the parameters of a network, which keep their values, by those in common."""
        named = dict(network.named_parameters())  # tied ones once
        found = self.in_common({name: each.detach().contiguous() for name, each in named.items()})
        for name, parameter in named.items():
            parameter.data = found[name]


def _write(file: BinaryIO, tensors: Mapping[str, torch.Tensor], key: str) -> None:
    """Write in place, where safetensors itself would put another file in its place."""
    file.truncate(0)
    file.write(_header(tensors, key))
    for tensor in tensors.values():
        file.write(tensor.view(-1).view(torch.uint8).numpy().data)
    file.flush()


def _header(tensors: Mapping[str, torch.Tensor], key: str) -> bytes:
    """Return what safetensors has before the numbers, which begin at a multiple of 64 bytes."""
    entries: dict[str, object] = {"__metadata__": {"key": key}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * tensor.itemsize
        entries[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries).encode()
    text += b" " * (-(len(text) + 8) % 64)
    return len(text).to_bytes(8, "little") + text
