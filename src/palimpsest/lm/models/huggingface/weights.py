"""Weights of two checkpoints, compared tensor by tensor in pieces that fit into any memory."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any

import torch

from palimpsest.lm.models.huggingface.checkpoint import Checkpoint, read_json

_PIECE = 2**22
"""Numbers that are looked at together: 16 MB in float32."""

_BLOCKS = 4
"""Pieces of a tensor that are looked at where not all of it is."""

_LORA = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?")


_ADDED = re.compile(r"^base_model\.model\.|\.base_layer|\.modules_to_save|\.original_module")
"""What PEFT writes into the names of the base's tensors."""


class TensorFile:
    """The tensors of a checkpoint by name, read when they are asked for.

    Args:
        checkpoint: With its weights in safetensors.
        most_numbers: At most about so many numbers of all tensors together are read, evenly spread.
    """

    def __init__(self, checkpoint: Checkpoint, most_numbers: int | None = None) -> None:
        from safetensors import safe_open

        self._stack = ExitStack()
        self._slices: dict[str, Any] = {}
        for path in checkpoint.weights:
            opened: Any = self._stack.enter_context(safe_open(path, framework="pt"))
            self._slices |= {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
        self._most = None if most_numbers is None else most_numbers // max(1, len(self._slices))

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def names(self) -> list[str]:
        """Of all tensors."""
        return sorted(self._slices)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the sizes of a tensor."""
        return tuple(self._slices[name].get_shape())

    def dtype(self, name: str) -> str:
        """Return a tensor's dtype as safetensors calls it, such as ``BF16``."""
        return str(self._slices[name].get_dtype())

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """Yield a tensor, or a sample of its rows, piece by piece in float32."""
        shape = self.shape(name)
        if not shape:
            yield self._slices[name][...].float()
            return
        a_row = math.prod(shape[1:])
        n_at_once = max(1, _PIECE // max(1, a_row))
        for first, last in self._spans(shape[0], a_row):
            for start in range(first, last, n_at_once):
                yield self._slices[name][start : min(start + n_at_once, last)].float()

    def _spans(self, n_rows: int, a_row: int) -> list[tuple[int, int]]:
        if self._most is None or n_rows * a_row <= self._most:
            return [(0, n_rows)]
        n_each = max(1, self._most // (_BLOCKS * max(1, a_row)))
        if n_each * _BLOCKS >= n_rows:
            return [(0, n_rows)]
        starts = [round(k * (n_rows - n_each) / (_BLOCKS - 1)) for k in range(_BLOCKS)]
        return [(start, start + n_each) for start in starts]


@dataclass
class WeightChange:
    """What tuning changed in the weights."""

    n_shared: int = 0
    """Tensors of the same name and shape in both."""

    reshaped: list[str] = field(default_factory=list)
    """Tensors of the same name and another shape, with both shapes."""

    only_base: list[str] = field(default_factory=list)
    only_tuned: list[str] = field(default_factory=list)
    not_finite: dict[str, str] = field(default_factory=dict)
    """The first tensor with NaN or infinity, by role."""

    dtypes: dict[str, str] = field(default_factory=dict)
    """As they are stored, by role."""

    relative: dict[str, float] = field(default_factory=dict)
    r"""Of each shared tensor, :math:`\|W' - W\| / \|W\|`."""

    matrices: dict[str, float] = field(default_factory=dict)
    """The relative changes of tensors of two and more dimensions."""

    is_sample: bool = False
    """Whether only a part of each tensor was looked at."""

    @cached_property
    def typical(self) -> float:
        """The median of the relative changes, over matrices where there are any."""
        return median(self.matrices.values() or self.relative.values() or [math.nan])

    @property
    def n_changed(self) -> int:
        """How many shared tensors differ at all."""
        return sum(change > 0 for change in self.relative.values())


def weight_change(
    base: Checkpoint, tuned: Checkpoint, *, most_numbers: int | None = None
) -> WeightChange:
    """Compare the weights of two models, both in safetensors.

    Args:
        base: The model before tuning.
        tuned: The model after tuning.
        most_numbers: Look at about so many numbers of each at most; by default at all.
    """
    with TensorFile(base, most_numbers) as one, TensorFile(tuned, most_numbers) as other:
        found = WeightChange(is_sample=most_numbers is not None)
        names, others = set(one.names), set(other.names)
        found.only_base = sorted(names - others)
        found.only_tuned = sorted(others - names)
        for role, file in (("base", one), ("tuned", other)):
            found.dtypes[role] = ", ".join(sorted({file.dtype(name) for name in file.names}))
            for name in found.only_base if role == "base" else found.only_tuned:
                if not all(bool(piece.isfinite().all()) for piece in file.pieces(name)):
                    found.not_finite.setdefault(role, name)
        for name in sorted(names & others):
            if one.shape(name) != other.shape(name):
                found.reshaped.append(f"{name} {one.shape(name)} and {other.shape(name)}")
                continue
            found.n_shared += 1
            _compare(name, one, other, found)
    return found


def _compare(name: str, one: TensorFile, other: TensorFile, found: WeightChange) -> None:
    change = size = 0.0
    coarse = _coarser(one.dtype(name), other.dtype(name))
    for before, after in zip(one.pieces(name), other.pieces(name), strict=True):
        for role, piece in (("base", before), ("tuned", after)):
            if not bool(piece.isfinite().all()):
                found.not_finite.setdefault(role, name)
        # Where one was stored more coarsely, its rounding is no tuning.
        difference = after.to(coarse) - before.to(coarse)
        change += float(difference.float().square().sum(dtype=torch.float64))
        size += float(before.square().sum(dtype=torch.float64))
    relative = math.sqrt(change / size) if size else math.inf if change else 0.0
    if not math.isnan(relative):
        found.relative[name] = relative
        if len(one.shape(name)) > 1:
            found.matrices[name] = relative


_COARSE = {"BF16": torch.bfloat16, "F16": torch.float16}


def _coarser(one: str, other: str) -> torch.dtype:
    """Return the dtype in which two tensors are compared."""
    if one == other:
        return torch.float32
    return next((_COARSE[each] for each in (one, other) if each in _COARSE), torch.float32)


@dataclass
class AdapterChange:
    """What an adapter says that it changes."""

    kind: str
    """PEFT's word, such as ``LORA``."""

    made_for: str
    """The base that it names, or nothing."""

    n_tensors: int
    """In its file."""

    n_other: int
    """Of them those that are of no low-rank pair and no copy of the base's, such as whole layers
    that were trained."""

    not_finite: str | None = None
    """The first tensor with NaN or infinity."""

    zero: list[str] = field(default_factory=list)
    """Layers whose pair multiplies to nothing."""

    unknown: list[str] = field(default_factory=list)
    """Layers that the base does not have."""

    unfitting: list[str] = field(default_factory=list)
    """Layers that have another size in the base, with both."""

    relative: dict[str, float] = field(default_factory=dict)
    r"""Of each layer that fits, :math:`\|s B A\| / \|W\|`."""

    @property
    def n_layers(self) -> int:
        """How many layers have a low-rank pair."""
        return len(self.zero) + len(self.unknown) + len(self.unfitting) + len(self.relative)


def adapter_change(
    base: Checkpoint, adapter: Checkpoint, *, most_numbers: int | None = None
) -> AdapterChange:
    """Look at an adapter's tensors and at the layers of ``base`` that they belong to.

    Args:
        base: The model that it is put on.
        adapter: Its files, in safetensors.
        most_numbers: Look at about so many numbers of the base at most; by default at all.
    """
    config = read_json(adapter.folder / "adapter_config.json")
    with TensorFile(base, most_numbers) as layers, TensorFile(adapter) as own:
        pairs: dict[str, dict[str, str]] = {}
        for name in own.names:
            if match := _LORA.fullmatch(name):
                pairs.setdefault(match[1], {})[match[2]] = name
        found = AdapterChange(
            kind=str(config.get("peft_type") or "unknown"),
            made_for=str(config.get("base_model_name_or_path") or ""),
            n_tensors=len(own.names),
            n_other=sum(
                not _LORA.fullmatch(name) and not _is_copy(name, own, base) for name in own.names
            ),
        )
        for name in own.names:
            if not all(bool(piece.isfinite().all()) for piece in own.pieces(name)):
                found.not_finite = found.not_finite or name
        targets = _by_layer(layers)
        for layer, pair in pairs.items():
            if len(pair) == 2:
                _look_at_pair(layer, _whole(own, pair["A"]), _whole(own, pair["B"]),
                              config, layers, targets, found)  # fmt: skip
    return found


def _is_copy(name: str, own: TensorFile, base: Checkpoint) -> bool:
    """Return whether a tensor of an adapter is the base's own, saved along with it."""
    layer = _ADDED.sub("", name)
    with TensorFile(base) as layers:
        return (
            layer in layers.names
            and layers.shape(layer) == own.shape(name)
            and all(map(torch.equal, layers.pieces(layer), own.pieces(name)))
        )


def _whole(file: TensorFile, name: str) -> torch.Tensor:
    return torch.cat(list(file.pieces(name)))


def _by_layer(layers: TensorFile) -> Mapping[str, str]:
    """Return the weights by layer, also without the prefix that some checkpoints leave out."""
    whole = {name.removesuffix(".weight"): name for name in layers.names}
    return whole | {f"transformer.{layer}": name for layer, name in whole.items()}


def _look_at_pair(
    layer: str,
    a: torch.Tensor,
    b: torch.Tensor,
    config: Mapping[str, object],
    layers: TensorFile,
    targets: Mapping[str, str],
    found: AdapterChange,
) -> None:
    if layer not in targets:
        found.unknown.append(layer)
        return
    shape = layers.shape(targets[layer])
    if sorted(shape) != sorted((b.shape[0], a.shape[1])):
        found.unfitting.append(f"{layer} {shape} and {(b.shape[0], a.shape[1])}")
        return
    # ‖BA‖² = tr(BᵀB · AAᵀ), without the product itself.
    squared = float(((b.T @ b) * (a @ a.T)).sum(dtype=torch.float64))
    rank = a.shape[0]
    scale = float(config.get("lora_alpha") or rank) / (  # type: ignore[arg-type]
        math.sqrt(rank) if config.get("use_rslora") else rank
    )
    if not squared > 0:
        found.zero.append(layer)
        return
    size, n_seen = 0.0, 0
    for piece in layers.pieces(targets[layer]):
        size += float(piece.square().sum(dtype=torch.float64))
        n_seen += piece.numel()
    size *= math.prod(shape) / max(1, n_seen)
    found.relative[layer] = scale * math.sqrt(squared / size) if size else math.inf
