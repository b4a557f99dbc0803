"""A key-value cache that writes into memory reserved at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


class ReservedLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A :class:`DynamicLayer` that appends in place, up to a known length.

    The library's layer concatenates at every token and so copies the whole cache each time.

    Args:
        capacity: How many positions will be written at most.
    """

    _layer_type = None

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = capacity
        self.length = 0
        self._keys: torch.Tensor | None = None
        self._values: torch.Tensor | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append and return all positions so far."""
        if self._keys is None or self._values is None:
            self._keys, self._values = self._reserve(key_states), self._reserve(value_states)
            self.is_initialized = True
        end = self.length + key_states.shape[-2]
        self._keys[:, :, self.length : end] = key_states
        self._values[:, :, self.length : end] = value_states
        self.length = end
        self.keys, self.values = self._keys[:, :, :end], self._values[:, :, :end]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Return how many positions are filled."""
        return self.length

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep the rows in ``beam_idx``, in that order."""
        if self._keys is None or self._values is None:
            return
        self._keys = self._select(self._keys, beam_idx)
        self._values = self._select(self._values, beam_idx)
        self.keys = self._keys[:, :, : self.length]
        self.values = self._values[:, :, : self.length]

    def _reserve(self, states: torch.Tensor) -> torch.Tensor:
        rows, heads, _, width = states.shape
        return states.new_empty(rows, heads, self.capacity, width)

    def _select(self, states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        kept = states.new_empty(len(rows), *states.shape[1:])
        kept[:, :, : self.length] = states[:, :, : self.length][rows]
        return kept


def new_cache(config: PreTrainedConfig, capacity: int) -> DynamicCache:
    """Return an empty cache for ``config``, with room for ``capacity`` positions.

    Only plain attention layers are replaced; sliding windows and recurrent states keep the
    library's own layers.
    """
    cache = DynamicCache(config=config)
    cache.layers = [
        ReservedLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = cast(Any, lambda: ReservedLayer(capacity))
    return cache
