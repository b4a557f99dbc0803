"""Adapters in a family: their change scaled as an adapter, or put into the base's weights."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from palimpsest.errors import UserError
from palimpsest.families.matching import (
    BaseNames,
    InFile,
    Match,
    MatchedTensor,
    check_not_quantised,
    is_tied,
    shown,
)
from palimpsest.families.parts import is_head
from palimpsest.files import parse_json, read_bytes
from palimpsest.lm.models.huggingface import (
    Checkpoint,
    HuggingFaceModel,
    StoredTensor,
    TensorReader,
    adapter_change,
    hash_files,
    stored_weights,
)

_MERGE = "Merge it into its base (PEFT's merge_and_unload), and name the merged folder."
_PAIR = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_(?:embedding_)?([AB])(?:\.weight|\.bias)?")
_ADDED = re.compile(r"^base_model\.model\.|\.base_layer|\.modules_to_save|\.original_module")
_LOOKED_AT = 2**22
"""Numbers of the base that an adapter's change is compared with."""

_NOT_LINEAR = ("use_dora", "layer_replication", "trainable_token_indices", "use_qalora")
"""Settings with which an adapter's change is more than a sum of products of two matrices."""


@dataclass(frozen=True)
class Zeros:
    """What the base has where an adapter adds something."""

    shape: tuple[int, ...]

    def read(
        self, reader: TensorReader, first: int, end: int, *, slot: str, dtype: torch.dtype
    ) -> torch.Tensor:
        """Return rows of zeros."""
        return torch.zeros(end - first, *self.shape[1:], dtype=dtype)


@dataclass(frozen=True)
class Adapted:
    """A tensor of the base with an adapter's change in it: W + s B A."""

    tensor: StoredTensor
    a: torch.Tensor
    b: torch.Tensor
    scale: float

    is_turned: bool
    """Whether the base has inputs along its rows, as embeddings and GPT-2's layers do."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return self.tensor.shape

    def read(
        self, reader: TensorReader, first: int, end: int, *, slot: str, dtype: torch.dtype
    ) -> torch.Tensor:
        """Return some rows."""
        rows = reader.numbers(self.tensor, first, end, slot=slot, dtype=torch.float32)
        left, right = (self.a.T, self.b.T) if self.is_turned else (self.b, self.a)
        # The product is made apart: the rows may be memory that the file was read into.
        changed = torch.addmm(rows, left[first:end], right, alpha=self.scale)
        return changed.to(dtype)


def match_adapter(base: HuggingFaceModel, tuned: HuggingFaceModel) -> Match:
    """Return the tensors of an adapter, with the base's beside those that are no low-rank pair.

    Raises:
        UserError: The adapter is of another base, of a kind that cannot be scaled, or changes
            nothing.
    """
    adapter = _checked_adapter(base, tuned)
    notes = list(_check_change(base, adapter))
    own = stored_weights(base.checkpoint).tensors
    check_not_quantised(base, own)
    names = BaseNames(own, is_tied=is_tied(base))
    matched = []
    for name, tensor in stored_weights(adapter).tensors.items():
        pair = _PAIR.fullmatch(name)
        if pair is not None and pair[2] == "A":
            matched.append(MatchedTensor(name, tensor, None, InFile(tensor), 0))
            continue
        if pair is not None:
            zeros = Zeros(tensor.shape)
            matched.append(MatchedTensor(name, tensor, zeros, InFile(tensor), tensor.n_rows))
            continue
        of_base = names.of(_ADDED.sub("", name))
        if of_base is None or of_base.shape[1:] != tensor.shape[1:]:
            what = "none" if of_base is None else shown(of_base.shape)
            raise UserError(
                f"The adapter '{adapter.name}' has a tensor '{name}' {shown(tensor.shape)} that is "
                f"of no low-rank pair, and of the base's there is {what}.",
                hint=_MERGE,
            )
        n_mixed = min(of_base.n_rows, tensor.n_rows)
        if n_mixed < tensor.n_rows:
            notes.append(
                f"The last {tensor.n_rows - n_mixed:,} rows of '{name}' are the adapter's in every "
                "mixture: the base has none."
            )
        matched.append(MatchedTensor(name, tensor, InFile(of_base), InFile(tensor), n_mixed))
    return Match(tuple(matched), (*notes, *names.notes))


def match_merged(base: HuggingFaceModel, tuned: HuggingFaceModel) -> Match:
    """Return the base's tensors, with those of the base and the adapter together as the tuned ones.

    Raises:
        UserError: The adapter cannot be put into the base's weights.
    """
    adapter = _checked_adapter(base, tuned)
    config = _adapter_config(adapter)
    own, added = (stored_weights(each).tensors for each in (base.checkpoint, adapter))
    pairs, others = _by_layer(added)
    matched: list[MatchedTensor] = []
    for name, tensor in own.items():
        layer = next((each for each in _layer_names(name) if each in pairs), None)
        if layer is not None:
            # Of embeddings that it adapts, an adapter may have saved a copy, perhaps with new rows.
            under = others.pop(name, tensor)
            tuned_tensor: InFile | Adapted = _adapted(under, layer, pairs.pop(layer), config)
        elif name in others:
            tuned_tensor = InFile(others.pop(name))
        else:
            matched.append(MatchedTensor(name, tensor, None, InFile(tensor), 0))
            continue
        if tuned_tensor.shape != tensor.shape:
            raise UserError(
                f"The adapter '{adapter.name}' resizes '{name}' from {shown(tensor.shape)} to "
                f"{shown(tuned_tensor.shape)}, and so cannot be put into the base's weights.",
                hint=_MERGE,
            )
        matched.append(MatchedTensor(name, tensor, InFile(tensor), tuned_tensor, tensor.n_rows))
    if left := [*pairs, *others]:
        raise UserError(
            f"The adapter '{adapter.name}' changes '{left[0]}', which the base's files do not have "
            "as a tensor of its own.",
            hint=_MERGE,
        )
    return Match(tuple(matched), ())


def _checked_adapter(base: HuggingFaceModel, tuned: HuggingFaceModel) -> Checkpoint:
    adapter = tuned.adapter
    assert adapter is not None
    if base.adapter is not None:
        raise UserError(
            f"The base '{base.spec}' has an adapter itself.",
            hint="Name the base without it, or merge it first (PEFT's merge_and_unload).",
        )
    if not _same_weights(base.checkpoint, tuned.checkpoint):
        raise UserError(
            f"The adapter '{adapter.name}' lies on '{tuned.checkpoint.name}', but the base is "
            f"'{base.checkpoint.name}', which has other weights.",
            hint=f"Name the same for both: {base.spec} and {base.spec},adapter={adapter.name}",
        )
    config = _adapter_config(adapter)
    kind = str(config.get("peft_type"))
    if kind != "LORA":
        raise UserError(
            f"The adapter '{adapter.name}' is of the kind {kind}; adapters of LoRA alone "
            "can be mixed.",
            hint=_MERGE,
        )
    for setting in _NOT_LINEAR:
        if config.get(setting):
            raise UserError(
                f"The adapter '{adapter.name}' has {setting}={config[setting]!r}, with which its "
                "change is no product of two matrices.",
                hint=_MERGE,
            )
    return adapter


def _same_weights(one: Checkpoint, other: Checkpoint) -> bool:
    if one.weights == other.weights:
        return True
    return sorted(hash_files(one.weights).values()) == sorted(hash_files(other.weights).values())


def _check_change(base: HuggingFaceModel, adapter: Checkpoint) -> Iterator[str]:
    change = adapter_change(base.checkpoint, adapter, most_numbers=_LOOKED_AT)
    made_for = change.made_for.rstrip("/").rpartition("/")[2]
    own = base.checkpoint.name.rstrip("/").rpartition("/")[2]
    if made_for and made_for.lower() != own.lower():
        yield f"The adapter names '{change.made_for}' as its base, here it is '{base.spec}'."
    if change.not_finite:
        raise UserError(
            f"The tensor '{change.not_finite}' of the adapter '{adapter.name}' has NaN or "
            "infinity.",
            hint="Copy it anew, or take one from before the training diverged.",
        )
    unknown = [layer for layer in change.unknown if not is_head(f"{layer}.")]
    for layers, what in ((change.unfitting, "of another size"), (unknown, "missing")):
        if layers:
            raise UserError(
                f"{len(layers):,} of the {change.n_layers:,} layers that the adapter "
                f"'{adapter.name}' changes are {what} in the base '{base.spec}', such as "
                f"{layers[0]}.",
                hint="Name the base that the adapter was trained on.",
            )


def _adapter_config(adapter: Checkpoint) -> Mapping[str, Any]:
    path = adapter.folder / "adapter_config.json"
    config: Mapping[str, Any] = parse_json(read_bytes(path), f"The file '{path}'")
    return config


def _by_layer(
    tensors: Mapping[str, StoredTensor],
) -> tuple[dict[str, dict[str, StoredTensor]], dict[str, StoredTensor]]:
    """Return the low-rank pairs by layer, and the other tensors by their names in the base."""
    pairs: dict[str, dict[str, StoredTensor]] = {}
    others: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        pair = _PAIR.fullmatch(name)
        if pair is None:
            others[_ADDED.sub("", name)] = tensor
        elif name.endswith(".bias"):
            others[f"{pair[1]}.bias"] = tensor  # told as what has no place
        else:
            pairs.setdefault(pair[1], {})[pair[2]] = tensor
    return pairs, others


def _layer_names(name: str) -> tuple[str, str]:
    """Return the names that an adapter may have for a layer."""
    layer = name.removesuffix(".weight")
    return layer, f"transformer.{layer}"


def _adapted(
    tensor: StoredTensor,
    layer: str,
    pair: Mapping[str, StoredTensor],
    config: Mapping[str, Any],
) -> Adapted:
    with TensorReader() as reader:
        a, b = (
            reader.numbers(pair[part], 0, pair[part].n_rows, slot="whole").clone() for part in "AB"
        )
    rank = a.shape[0]
    alpha = float(
        _by_pattern(config.get("alpha_pattern"), layer) or config.get("lora_alpha") or rank
    )
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    product = (b.shape[0], a.shape[1])
    is_turned = product != tensor.shape or bool(config.get("fan_in_fan_out"))
    return Adapted(tensor, a, b, scale, is_turned)


def _by_pattern(patterns: Mapping[str, Any] | None, layer: str) -> Any:
    """Return what is set for a layer, as PEFT looks it up: by the end of the name."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(?:.*\.)?(?:{pattern})$", layer):
            return value
    return None
