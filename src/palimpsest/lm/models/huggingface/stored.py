"""Places of tensors in safetensors files, and their numbers read piece by piece into buffers.

A file is eight bytes with the length of its header, the header as JSON with each tensor's dtype,
shape and place, and the numbers. Who knows the places can read any rows of a tensor into memory
that is used again for the next rows, and write a file with the same header beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface.checkpoint import Checkpoint

STORED_DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
"""torch's dtype for each name in a header."""

PIECE_NUMBERS = 2**18
"""Numbers that are read together: 1 MB in float32, so that a few buffers stay in the cache."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    path: Path
    start: int
    """Its first byte, counted from the beginning of the file."""

    @property
    def n_numbers(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """How many bytes it takes in the file."""
        return self.n_numbers * self.dtype.itemsize

    @property
    def row_numbers(self) -> int:
        """How many numbers a row has; a tensor without dimensions is one row."""
        return math.prod(self.shape[1:])

    @property
    def n_rows(self) -> int:
        """The size of its first dimension."""
        return self.shape[0] if self.shape else 1

    def row_spans(self, piece_numbers: int = PIECE_NUMBERS) -> Iterator[tuple[int, int]]:
        """Yield the first row and the end of each piece; a piece has at least one row."""
        n_together = max(1, piece_numbers // max(1, self.row_numbers))
        for first in range(0, self.n_rows, n_together):
            yield first, min(first + n_together, self.n_rows)


@dataclass(frozen=True)
class SafetensorsFile:
    """A file's header and its tensors, in the order in which they lie there."""

    path: Path
    header: bytes
    """All that stands before the numbers."""

    tensors: Mapping[str, StoredTensor]
    n_bytes: int
    """Of the whole file."""


@dataclass(frozen=True)
class StoredWeights:
    """All tensors of a checkpoint's files by name."""

    files: tuple[SafetensorsFile, ...]
    tensors: Mapping[str, StoredTensor]

    @property
    def n_bytes(self) -> int:
        """Of all files."""
        return sum(file.n_bytes for file in self.files)


def stored_weights(checkpoint: Checkpoint) -> StoredWeights:
    """Return where the tensors of a checkpoint lie; no number is read.

    Raises:
        UserError: The weights are pickled, or a header cannot be read.
    """
    if checkpoint.pickled:
        raise UserError(
            f"The weights of '{checkpoint.name}' are pickled, which cannot be read in pieces.",
            hint="Convert them to safetensors: model.save_pretrained(folder)",
        )
    files = tuple(map(_read_header, checkpoint.weights))
    tensors = {name: tensor for file in files for name, tensor in file.tensors.items()}
    return StoredWeights(files, tensors)


def _read_header(path: Path) -> SafetensorsFile:
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        content = file.read(n_header)
    facts: Mapping[str, Any] = json.loads(content)
    start = 8 + n_header
    tensors = [
        StoredTensor(
            name,
            tuple(each["shape"]),
            _dtype(path, name, each["dtype"]),
            path,
            start + each["data_offsets"][0],
        )
        for name, each in facts.items()
        if name != "__metadata__"
    ]
    tensors.sort(key=lambda tensor: tensor.start)
    header = n_header.to_bytes(8, "little") + content
    return SafetensorsFile(
        path, header, {tensor.name: tensor for tensor in tensors}, path.stat().st_size
    )


def _dtype(path: Path, name: str, stored: str) -> torch.dtype:
    if stored not in STORED_DTYPES:
        raise UserError(
            f"The tensor '{name}' in '{path}' is stored as {stored}, which is not known here.",
            hint="Save the model in bfloat16, float16 or float32.",
        )
    return STORED_DTYPES[stored]


@dataclass
class TensorReader:
    """Reads rows of stored tensors into memory that is used again; one for each thread."""

    _files: dict[Path, BinaryIO] = field(default_factory=dict)
    _buffers: dict[str, torch.Tensor] = field(default_factory=dict)

    def __enter__(self) -> TensorReader:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def rows(self, tensor: StoredTensor, first: int, end: int, *, slot: str) -> torch.Tensor:
        """Return the rows from ``first`` to before ``end`` as they are stored, as one flat tensor.

        The numbers are gone when the next rows are read into the same slot.

        Raises:
            UserError: The file has become shorter.
        """
        n_numbers = (end - first) * tensor.row_numbers
        raw = self._buffer(f"{slot} raw", n_numbers * tensor.dtype.itemsize, torch.uint8)
        file = self._files.get(tensor.path)
        if file is None:
            file = self._files[tensor.path] = tensor.path.open("rb", buffering=0)
        file.seek(tensor.start + first * tensor.row_numbers * tensor.dtype.itemsize)
        view, n_read = memoryview(raw.numpy()).cast("B"), 0  # type: ignore[arg-type]
        while n_read < len(view):
            n_new = file.readinto(view[n_read:])  # type: ignore[attr-defined]
            if not n_new:
                raise UserError(
                    f"The file '{tensor.path}' ends within the tensor '{tensor.name}'.",
                    hint="It was changed while it was read; run the command again.",
                )
            n_read += n_new
        return raw.view(tensor.dtype)

    def numbers(
        self,
        tensor: StoredTensor,
        first: int,
        end: int,
        *,
        slot: str,
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Return those rows in ``dtype``, in the tensor's shape; gone with the next of the slot."""
        raw = self.rows(tensor, first, end, slot=slot)
        return self.converted(raw, dtype, slot=slot).view(end - first, *tensor.shape[1:])

    def converted(self, numbers: torch.Tensor, dtype: torch.dtype, *, slot: str) -> torch.Tensor:
        """Return a tensor in another dtype, in memory of its slot; itself where it is that."""
        if numbers.dtype == dtype:
            return numbers
        buffer = self._buffer(f"{slot} {dtype}", numbers.numel(), dtype)
        return buffer.view(numbers.shape).copy_(numbers)

    def _buffer(self, slot: str, n_numbers: int, dtype: torch.dtype) -> torch.Tensor:
        found = self._buffers.get(slot)
        if found is None or len(found) < n_numbers:
            found = self._buffers[slot] = torch.empty(n_numbers, dtype=dtype)
        return found[:n_numbers]
