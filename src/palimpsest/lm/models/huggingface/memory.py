"""Memory of a batch: how much goes into one, what happens when it runs out, and a cache in it."""

from __future__ import annotations

import ctypes
import gc
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import cache_utils
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionCacheLayerMixin,
)

from palimpsest.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_EMPTY_LAYERS: tuple[type, ...] = (
    (cache_utils.DummyLayer,) if hasattr(cache_utils, "DummyLayer") else ()
)
"""Of caches, for what needs none; younger releases of transformers have them."""

_ACCELERATOR_TOKENS = 65536

_CPU_WORK = 8 * 10**11
"""Tokens × parameters of a batch on the CPU: some seconds, so that answers keep coming in."""

_FEWEST_CPU_TOKENS = 2048
_MOST_CPU_TOKENS = 32768
_ACCELERATOR_PART = 16384
_CPU_PART = 1024
"""Tokens of the prompts that are read at once: each part reads all weights, the head's too, which
are many where the vocabulary is large."""

_MOST_HELD = 4
"""Times the tokens that a batch computes, those that it may hold."""

_MEMORY_SHARE = 0.4
"""How much of the free memory a batch may take by our estimate, which leaves out fragments."""

_MEMORY_MESSAGES = ("not enough memory", "can't allocate memory", "out of memory")


class BatchBudget:
    """How much goes into one batch; halved whenever memory runs out.

    Args:
        n_tokens: Rows × columns of a batch, padding and room for new tokens included.
        n_held: How many of them may be in memory; more than are computed where rows have a prefix
            in common.
    """

    def __init__(self, n_tokens: int, n_held: int | None = None) -> None:
        self.n_tokens = n_tokens
        self.n_held = max(n_tokens, n_held or 0)
        self.n_rows: int | None = None

    def rows(self, n_columns: int, n_shared: int = 0) -> int:
        """Return how many rows go together, at least one.

        Args:
            n_columns: Of each, the longest.
            n_shared: How many of them are computed once for all rows.
        """
        computed = max(0, self.n_tokens - n_shared) // max(1, n_columns - n_shared)
        fitting = max(1, min(computed, self.n_held // max(1, n_columns)))
        return min(fitting, self.n_rows or fitting)

    def divided(self, n: int) -> BatchBudget:
        """Return a budget of its own with an ``n``-th of this one; for 1, this one."""
        if n == 1:
            return self
        part = BatchBudget(max(1, self.n_tokens // n), self.n_held // n)
        part.n_rows = self.n_rows
        return part

    def halve(self, n_rows: int, error: BaseException, device: torch.device) -> None:
        """Free the memory of a batch that did not fit, and allow half of its rows from now on.

        Any error that is no lack of memory is raised again.

        Raises:
            UserError: A single row did not fit.
        """
        if not is_out_of_memory(error):
            raise error
        error.__traceback__ = None  # it holds the frames, and with them the cache
        free_memory(device)
        if n_rows <= 1:
            raise UserError(
                "There is not enough memory for a single prompt of this suite.",
                hint="Use a smaller dtype (dtype=bfloat16), a device with more memory, "
                "or shorter prompts.",
            ) from error
        self.n_rows = n_rows // 2


def is_out_of_memory(error: BaseException) -> bool:
    """Tell a lack of memory from other errors; on the CPU torch raises a plain RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in _MEMORY_MESSAGES)


def free_memory(device: torch.device) -> None:
    """Collect what nobody refers to any more, and give cached blocks back to the device."""
    gc.collect()
    empty_cache(device)


def trim_heap() -> None:
    """Give freed memory back to the system: glibc keeps blocks of up to 32 MB, as weights are."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def empty_cache(device: torch.device) -> None:
    """Give cached blocks back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def default_budget(config: PreTrainedConfig, device: torch.device, n_bytes: int) -> BatchBudget:
    """Return a budget for batches that are fast and fit into the memory that is free.

    Args:
        config: Of the model.
        device: Where it runs.
        n_bytes: Per number, by the model's dtype.
    """
    wanted = _ACCELERATOR_TOKENS
    if device.type == "cpu":  # the parameters of all blocks, by the usual proportions
        fast = _CPU_WORK // (12 * _size(config, *_DEPTH) * _size(config, *_WIDTH) ** 2)
        wanted = min(max(fast, _FEWEST_CPU_TOKENS), _MOST_CPU_TOKENS)
    free = _free_bytes(device)
    if free is None:
        return BatchBudget(wanted)
    fitting = max(1, int(_MEMORY_SHARE * free / token_bytes(config, n_bytes)))
    return BatchBudget(min(wanted, fitting), min(_MOST_HELD * wanted, fitting))


def part_tokens(device: torch.device) -> int:
    """Return how many tokens of the prompts are read at once."""
    return _CPU_PART if device.type == "cpu" else _ACCELERATOR_PART


def hidden_width(config: PreTrainedConfig) -> int:
    """Return how many numbers a state has between two layers."""
    return _size(config, *_WIDTH)


def token_bytes(config: PreTrainedConfig, n_bytes: int) -> int:
    """Return about how much memory a token of a batch takes: its cache, and one layer's work.

    Args:
        config: Of the model.
        n_bytes: Per number, by the model's dtype.
    """
    width = hidden_width(config)
    n_heads = _size(config, "num_attention_heads", 1)
    head_width = _size(config, "head_dim", width // n_heads)
    n_cached = _size(config, "num_key_value_heads", n_heads) * head_width
    cache = 2 * _size(config, *_DEPTH) * n_cached
    # Of one layer; they are freed before the next.
    activations = 8 * hidden_width(config) + 3 * _size(
        config, "intermediate_size", 4 * hidden_width(config)
    )
    return n_bytes * (cache + activations)


_WIDTH, _DEPTH = ("hidden_size", 4096), ("num_hidden_layers", 32)
"""What a configuration calls them, and what they are taken for where it does not say."""


def _size(config: PreTrainedConfig, name: str, default: int) -> int:
    return int(getattr(config.get_text_config(decoder=True), name, None) or default)


def _free_bytes(device: torch.device) -> int | None:
    """Return what is free on the device, or ``None`` where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable: +(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


class CacheMemory:
    """Memory that one cache after the other is laid into.

    On the CPU, a fresh block of memory costs more to touch for the first time than keys and
    values cost to compute for a small model.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, torch.Tensor] = {}

    def tensor(self, slot: int, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """Return a tensor with anything in it; the last one of this slot is gone."""
        n_numbers = math.prod(shape)
        block = self._blocks.get(slot)
        if block is None or len(block) < n_numbers or block.dtype != like.dtype:
            block = self._blocks[slot] = like.new_empty(n_numbers)
        return block[:n_numbers].view(shape)


class MemoryPool:
    """Lends memory to caches, to each at a time its own."""

    def __init__(self) -> None:
        self._idle: list[CacheMemory] = []

    @contextmanager
    def lend(self) -> Iterator[Callable[[], CacheMemory]]:
        """Give a function that takes memory from the pool until the end of the block."""
        lent: list[CacheMemory] = []

        def take() -> CacheMemory:  # several threads may ask at once
            try:
                memory = self._idle.pop()
            except IndexError:
                memory = CacheMemory()
            lent.append(memory)
            return memory

        yield take
        # Not after an error, such as Ctrl-C: a thread may still be writing.
        self._idle += lent

    def clear(self) -> None:
        """Free what is not lent."""
        self._idle.clear()


class ReservedLayer(DynamicLayer):
    """Keys and values of one layer for a whole batch, of which the model sees a part.

    The library's layer concatenates at every token and so copies the whole cache each time; this
    one writes in place. It keeps all positions, also under a sliding window: the model's mask is
    what limits attention.

    Args:
        n_rows: Rows of the batch.
        n_columns: How many positions will be written at most.
        memory: Where the numbers go.
        index: Of the layer; no two in the same memory have the same.
    """

    _layer_type = None

    def __init__(self, n_rows: int, n_columns: int, memory: CacheMemory, index: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._memory = memory
        self._index = index
        self.n_rows = n_rows
        self.n_columns = n_columns
        self._rows = slice(0, n_rows)
        self._start = self._end = 0
        self._all: tuple[torch.Tensor, torch.Tensor] | None = None

    def show(self, rows: slice, start: int, end: int) -> None:
        """Let the model see columns ``start`` to ``end`` of ``rows``, and write after them."""
        self._rows, self._start, self._end = rows, start, end

    def fill(
        self,
        source: ReservedLayer,
        places: torch.Tensor,
        columns: torch.Tensor,
        hidden: torch.Tensor,
    ) -> None:
        """Copy what another layer holds into the part that is shown.

        Args:
            source: The same layer in another cache.
            places: Which of its rows each row gets, [rows, 1].
            columns: Which of that row's columns, [rows, columns shown].
            hidden: Which of them are padding here, [rows, columns shown].
        """
        assert source._all is not None
        if self._all is None:
            self._all = self._reserve(source._all[0], 0), self._reserve(source._all[1], 1)
            self.is_initialized = True
        device = self._all[0].device
        places, columns, hidden = (each.to(device) for each in (places, columns, hidden))
        for reserved, read in zip(self._all, source._all, strict=True):
            shown = reserved[self._rows, :, self._start : self._end]
            shown.copy_(read[places, :, columns].transpose(1, 2))
            # A masked position enters attention with weight 0, and 0 · nan = nan.
            shown.masked_fill_(hidden[:, None, :, None], 0.0)
            reserved[self._rows, :, : self._start] = 0.0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append to the part that is shown and return that part."""
        if self._all is None:
            self._all = self._reserve(key_states, 0), self._reserve(value_states, 1)
            self.is_initialized = True
        end = self._end + key_states.shape[-2]
        fresh = self._start == self._end
        for states, reserved in zip((key_states, value_states), self._all, strict=True):
            reserved[self._rows, :, self._end : end] = states
            if fresh:  # padding, as in fill
                reserved[self._rows, :, : self._start] = 0.0
        self._end = end
        if fresh:  # what was just computed lies closer together than its copy in the cache
            return key_states, value_states
        keys, values = (reserved[self._rows, :, self._start : end] for reserved in self._all)
        return keys, values

    def get_seq_length(self) -> int:
        """Return how many columns are shown."""
        return self._end - self._start

    def keep(self, rows: torch.Tensor, moved: torch.Tensor) -> None:
        """Keep ``rows`` and show them; only those at the places ``moved`` are copied.

        A moved row comes from beyond the rows that are kept, so that nothing is overwritten
        before it is read.
        """
        self.n_rows = len(rows)
        self._rows = slice(0, self.n_rows)
        for reserved in self._all or ():
            # Of a model that is spread, on the layer's device.
            to, taken = moved.to(reserved.device), rows[moved].to(reserved.device)
            reserved[to, :, : self._end] = reserved[taken, :, : self._end]

    def branch(self, rows: torch.Tensor) -> None:
        """Show ``rows`` in that order from now on, each as often as it is named."""
        self.n_rows = len(rows)
        self._rows = slice(0, self.n_rows)
        if self._all is not None:
            keys, values = self._all
            rows = rows.to(keys.device)
            self._all = keys[rows], values[rows]

    def _reserve(self, states: torch.Tensor, part: int) -> torch.Tensor:
        shape = (self.n_rows, states.shape[1], self.n_columns, states.shape[3])
        return self._memory.tensor(2 * self._index + part, shape, states)


def can_reserve(config: PreTrainedConfig) -> bool:
    """Whether all layers of the model are plain or sliding-window attention."""
    kinds = getattr(config.get_text_config(decoder=True), "layer_types", None) or ()
    plain = (DynamicLayer, DynamicSlidingWindowLayer, *_EMPTY_LAYERS)
    layers = DynamicCache(config=config).layers
    return (
        "chunked_attention" not in kinds
        and bool(layers)
        and all(type(layer) in plain for layer in layers)
    )


def skips_padding(config: PreTrainedConfig) -> bool:
    """Whether a mask can hide padding: not from a recurrent state."""
    return not any(
        isinstance(layer, LinearAttentionCacheLayerMixin)
        for layer in DynamicCache(config=config).layers
    )


def reserved_cache(
    config: PreTrainedConfig, n_rows: int, n_columns: int, memory: CacheMemory | None = None
) -> DynamicCache:
    """Return an empty cache whose attention layers are :class:`ReservedLayer`."""
    memory = CacheMemory() if memory is None else memory
    cache = DynamicCache(config=config)
    cache.layers = [
        layer
        if isinstance(layer, _EMPTY_LAYERS)
        else ReservedLayer(n_rows, n_columns, memory, index)
        for index, layer in enumerate(cache.layers)
    ]
    return cache


def reserved_layers(cache: Cache) -> list[ReservedLayer]:
    """Return the layers of a cache that are reserved; of another cache, none."""
    return [layer for layer in cache.layers if isinstance(layer, ReservedLayer)]


def keep_rows(cache: Cache, rows: Sequence[int], device: torch.device) -> None:
    """Drop all rows but these from a cache of any kind.

    Args:
        cache: The cache.
        rows: The rows in their new order, as :func:`without_gaps` gives it.
        device: Where the cache is.
    """
    kept = torch.tensor(rows, dtype=torch.long, device=device)
    moved = torch.tensor(
        [place for place, row in enumerate(rows) if place != row], dtype=torch.long, device=device
    )
    for layer in cache.layers:
        if isinstance(layer, ReservedLayer):
            layer.keep(kept, moved)
        else:
            layer.reorder_cache(cast(torch.LongTensor, kept))


def without_gaps(n_rows: int, kept: Sequence[int]) -> list[int]:
    """Order the kept rows such that those beyond the new end fill the gaps before it.

    Example:
        >>> without_gaps(6, [0, 2, 5])
        [0, 5, 2]
    """
    alive = set(kept)
    spare = [row for row in range(len(kept), n_rows) if row in alive]
    return [row if row in alive else spare.pop() for row in range(len(kept))]


def inverse(order: Sequence[int]) -> list[int]:
    """Return where each row is in an order.

    Example:
        >>> inverse([2, 0, 1])
        [1, 2, 0]
    """
    places = [0] * len(order)
    for place, row in enumerate(order):
        places[row] = place
    return places
