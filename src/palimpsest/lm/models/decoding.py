"""Greedy decoding in left-padded batches that rows leave as soon as their answer is known."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import torch
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

from palimpsest.lm.models.cache import new_cache
from palimpsest.lm.models.protocol import Decided, Generation
from palimpsest.lm.models.tokenization import Detokenizer, cut_at, settled_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Finish = Literal["stop", "decided", "length"]

_COMPACT_SHARE = 0.25
"""Drop finished rows once they are this share of the batch; copying the cache costs as well."""


@dataclass
class Row:
    """One prompt on its way through the decoder."""

    index: int
    """Its place in the caller's list."""

    prompt: list[int]
    """Token ids."""

    limit: int
    """How many new tokens it may get."""

    n_new: int = field(default=0, init=False)


class Decoder(Protocol):
    """A batch of prompts that is continued token by token."""

    def start(self) -> list[int]:
        """Read the prompts and return the first new token of each."""

    def feed(self, tokens: Sequence[int]) -> list[int]:
        """Append one token to each row and return the next ones."""

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other rows."""


class CachedDecoder:
    """A left-padded batch with a key-value cache.

    Args:
        model: With the weights.
        prompts: Token ids, none empty.
        n_new: How many tokens are fed after the prompts at most.
    """

    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, n_new: int
    ) -> None:
        self._model = model
        self._accepts = accepted_arguments(model)
        width = max(len(prompt) for prompt in prompts)
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        mask = torch.zeros(len(prompts), width + n_new, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        self._ids = ids.to(model.device)
        self._mask = mask.to(model.device)
        self._padded = any(len(prompt) < width for prompt in prompts)
        self._positions = (self._mask[:, :width].cumsum(-1) - 1).clamp(min=0)
        self._n_columns = width
        self._cache = new_cache(model.config, width + n_new)

    def start(self) -> list[int]:
        """Read the prompts and return the first new token of each."""
        tokens = self._forward(self._ids, self._positions)
        self._positions = self._positions[:, -1:]
        return tokens

    def feed(self, tokens: Sequence[int]) -> list[int]:
        """Append one token to each row and return the next ones."""
        ids = torch.tensor(tokens, device=self._mask.device)[:, None]
        self._n_columns += 1
        self._positions = self._positions + 1
        return self._forward(ids, self._positions)

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other rows, here and in the cache."""
        kept = torch.tensor(rows, dtype=torch.long, device=self._mask.device)
        self._mask, self._positions = self._mask[kept], self._positions[kept]
        self._cache.reorder_cache(cast(torch.LongTensor, kept))

    @torch.inference_mode()
    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> list[int]:
        arguments: dict[str, Any] = {
            # Without padding, no mask at all lets the attention use its fast causal path.
            "attention_mask": self._mask[:, : self._n_columns] if self._padded else None,
            "position_ids": positions,
            "past_key_values": self._cache,
            "use_cache": True,
            "logits_to_keep": 1,
        }
        arguments = {name: arguments[name] for name in self._accepts if name in arguments}
        logits = self._model(input_ids=ids, **arguments).logits
        tokens: list[int] = logits[:, -1].argmax(-1).tolist()
        return tokens


class RecomputingDecoder:
    """For architectures without a key-value cache: prompts of one length, read anew at each token.

    Args:
        model: With the weights.
        prompts: Token ids, all of the same length.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._accepts = accepted_arguments(model)
        self._ids = torch.tensor([list(prompt) for prompt in prompts], device=model.device)

    @torch.inference_mode()
    def start(self) -> list[int]:
        """Read the prompts and return the first new token of each."""
        arguments = {
            name: value
            for name, value in (("use_cache", False), ("logits_to_keep", 1))
            if name in self._accepts
        }
        logits = self._model(input_ids=self._ids, **arguments).logits
        tokens: list[int] = logits[:, -1].argmax(-1).tolist()
        return tokens

    def feed(self, tokens: Sequence[int]) -> list[int]:
        """Append one token to each row and return the next ones."""
        new = torch.tensor(tokens, device=self._ids.device)[:, None]
        self._ids = torch.cat([self._ids, new], dim=1)
        return self.start()

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other rows."""
        self._ids = self._ids[torch.tensor(rows, device=self._ids.device)]


def accepted_arguments(model: PreTrainedModel) -> frozenset[str]:
    """Return the names that the model's ``forward`` takes, looking through a PEFT wrapper."""
    unwrap = getattr(model, "get_base_model", None)
    inner = model if unwrap is None else unwrap()
    return frozenset(inspect.signature(inner.forward).parameters)


def has_cache(model: PreTrainedModel) -> bool:
    """Whether the model keeps keys and values in the library's cache."""
    return "past_key_values" in accepted_arguments(model)


def decode_greedily(
    decoder: Decoder,
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    *,
    ends: frozenset[int],
    stop: Sequence[str],
    decided: Decided | None,
) -> Iterator[tuple[int, Generation]]:
    """Continue every row; yield its place and its answer as soon as it is finished.

    Args:
        decoder: Holds the same rows.
        rows: The prompts with their limits.
        tokenizer: Of the model.
        ends: The ids of all end tokens.
        stop: An answer ends before the first of these.
        decided: Told the text so far, without broken characters or half a stop string; ``True``
            ends the row.
    """
    started = perf_counter()
    detokenizer = Detokenizer(tokenizer, [row.prompt for row in rows])
    texts = [""] * len(rows)
    held = list(range(len(rows)))  # which row each line of the decoder belongs to
    alive = set(held)
    tokens = decoder.start()
    while True:
        lines = [line for line, row in enumerate(held) if row in alive]
        speaking = [line for line in lines if tokens[line] not in ends]
        extended = detokenizer.extend(
            [held[line] for line in speaking], [tokens[line] for line in speaking]
        )
        for line, text in zip(speaking, extended, strict=True):
            texts[held[line]] = text
        for line in lines:
            row = rows[held[line]]
            row.n_new += 1
            ended = tokens[line] in ends
            result = _finished(row, texts[held[line]], ended, stop, decided)
            if result is not None:
                alive.discard(held[line])
                text, finish = result
                yield row.index, Generation(text, finish, row.n_new, perf_counter() - started)
        if not alive:
            return
        if len(alive) <= (1 - _COMPACT_SHARE) * len(held):
            kept = [line for line, row in enumerate(held) if row in alive]
            decoder.keep(kept)
            tokens = [tokens[line] for line in kept]
            held = [held[line] for line in kept]
        tokens = decoder.feed(tokens)


def _finished(
    row: Row, text: str, ended: bool, stop: Sequence[str], decided: Decided | None
) -> tuple[str, Finish] | None:
    """Return the answer and the reason if the row ends here."""
    cut = cut_at(text, stop)
    if cut is not None:
        return cut, "stop"
    if ended:
        return text, "stop"
    settled = settled_text(text, stop)
    if decided is not None and decided(row.index, settled):
        return settled, "decided"
    if row.n_new >= row.limit:
        return text, "length"
    return None


def takes_padding(model: PreTrainedModel) -> bool:
    """Whether rows of different length can share a batch: only where attention skips padding."""
    if not has_cache(model):
        return False
    layers = new_cache(model.config, 1).layers
    return all(isinstance(layer, DynamicLayer) for layer in layers) and not any(
        isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers
    )


def new_decoder(model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, n_new: int) -> Decoder:
    """Return the decoder that suits the model's architecture."""
    if has_cache(model):
        return CachedDecoder(model, prompts, n_new=n_new)
    return RecomputingDecoder(model, prompts)
