"""Ask a causal network greedily, in batches that fit into memory, wherever it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from palimpsest.lm.models.huggingface.batching import (
    BatchBudget,
    default_budget,
    empty_cache,
    free_memory,
    is_out_of_memory,
)
from palimpsest.lm.models.huggingface.cache import CacheMemory, MemoryPool
from palimpsest.lm.models.huggingface.decoders import Decoder, new_decoder, takes_padding
from palimpsest.lm.models.huggingface.decoding import Row, decode_greedily
from palimpsest.lm.models.huggingface.likelihood import score_candidates
from palimpsest.lm.models.huggingface.llama import FusedLlama, fused
from palimpsest.lm.models.huggingface.threads import DividedDecoder, Threads
from palimpsest.lm.models.huggingface.tokenization import PromptEncoder
from palimpsest.lm.models.protocol import Decided, Generation
from palimpsest.lm.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


_SMALL_BYTES = 256 * 2**20
"""Weights up to which a model on the CPU is small: each core gets rows of its own, so that all of
them read the weights, and a copy may be made for a faster form of the same network."""


class NetworkAsker:
    """Generation and scoring for one network; what it was loaded from is somebody else's business.

    Sampling, minimum lengths, penalties and the like in the generation configuration are ignored:
    decoding is greedy. Only its end tokens are used.

    Args:
        load: Gives the network with its weights, ready to be asked; called with the first
            question.
        config: Of the network.
        tokenizer: Of the network.
        name: The model's name, for messages.
        device: Where the network computes.
        dtype: Of its weights.
        n_parameters: Counts them; called with the first question.
        n_embeddings: How many token ids the network knows.
        chat: Whether plain text is sent as one user message.
        batch_tokens: Rows × columns of a batch; by default chosen from the device and its free
            memory.
    """

    def __init__(
        self,
        load: Callable[[], PreTrainedModel],
        *,
        config: PreTrainedConfig,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        n_parameters: Callable[[], int],
        n_embeddings: int,
        chat: bool = False,
        batch_tokens: int | None = None,
    ) -> None:
        self._load = load
        self._config = config
        self._device = device
        self._dtype = dtype
        self._n_parameters = n_parameters
        self._batch_tokens = batch_tokens
        self._tokenizer = tokenizer
        self.encoder = PromptEncoder(
            tokenizer,
            name=name,
            chat=chat,
            n_embeddings=n_embeddings,
            start=_start_token(config, tokenizer),
        )
        self._network: PreTrainedModel | None = None
        self._budget: BatchBudget | None = None
        self._fast: PreTrainedModel | FusedLlama | None = None
        self._threads: Threads | None = None
        self._pool = MemoryPool()
        self.n_too_long = 0
        """How many prompts so far did not fit into the model's context."""

    @property
    def n_context(self) -> int | None:
        """How many tokens the model can look back, prompt and answer together, if it says so."""
        text = self._config.get_text_config(decoder=True)
        found = getattr(text, "max_position_embeddings", None)
        return found if isinstance(found, int) and found > 0 else None

    @property
    def is_loaded(self) -> bool:
        """Whether the network is held at present."""
        return self._network is not None

    @property
    def network(self) -> PreTrainedModel:
        """The network with its weights, which are loaded at the first call."""
        if self._network is None:
            self._network = self._load()
        return self._network

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        decided: Decided | None = None,
    ) -> Iterator[tuple[int, Generation]]:
        """Continue every prompt greedily; yield ``(index, generation)`` in order of completion."""
        rows = []
        for index, ids in enumerate(self.encoder.encode(prompts)):
            limit = self._room(len(ids), max_new_tokens)
            if limit > 0:
                rows.append(Row(index, ids, limit))
            else:
                self.n_too_long += max_new_tokens > 0
                yield index, Generation("", "length", 0, 0.0)
        # The longest first: if memory is short, it shows at once.
        rows.sort(key=lambda row: len(row.prompt), reverse=True)
        while rows:
            batch = self._take(rows)
            finished: set[int] = set()
            try:
                for index, generation in self._decode(batch, stop, decided):
                    finished.add(index)
                    yield index, generation
            except (RuntimeError, MemoryError) as error:
                self._shrink(len(batch), error)
            done = {row.index for row in batch} & finished
            rows = [row for row in rows if row.index not in done]

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return, for each prompt, the natural-log probability of each candidate continuation.

        Context and continuation are encoded together and divided where the context's own tokens
        end, with trailing spaces of the context counted to the continuation, as
        lm-evaluation-harness does it. A candidate that does not fit into the context of the model
        scores minus infinity.
        """
        if not prompts:
            return []
        return score_candidates(
            self.network,
            self.encoder,
            prompts,
            candidates,
            n_context=self.n_context,
            budget=self._loaded_budget(),
        )

    def close(self) -> None:
        """Let go of the network and of all caches; a later question would load it again."""
        self._network = self._fast = None
        self._pool.clear()
        if self._threads is not None:
            self._threads.close()
            self._threads = None
        empty_cache(self._device)

    def _decode(
        self, batch: Sequence[Row], stop: Sequence[str], decided: Decided | None
    ) -> Iterator[tuple[int, Generation]]:
        for row in batch:
            row.n_new = 0
        n_new = max(row.limit for row in batch)
        with self._pool.lend() as memory:
            yield from decode_greedily(
                self._new_decoder([row.prompt for row in batch], n_new, memory),
                batch,
                self._tokenizer,
                ends=self._end_tokens(),
                stop=stop,
                decided=decided,
            )

    def _new_decoder(
        self, prompts: Sequence[Sequence[int]], n_new: int, memory: Callable[[], CacheMemory]
    ) -> Decoder:
        if self._fast is None:
            network = self.network
            self._fast = (self._is_small and fused(network)) or network
        fast = self._fast

        def new(part: Sequence[Sequence[int]]) -> Decoder:
            return new_decoder(fast, part, n_new=n_new, memory=memory())

        n_threads = torch.get_num_threads()
        if n_threads == 1 or len(prompts) == 1 or not self._is_small:
            return new(prompts)
        if self._threads is None:
            self._threads = Threads(n_threads)
        return DividedDecoder(self._threads, prompts, new)

    @cached_property
    def _is_small(self) -> bool:
        n_bytes = self._n_parameters() * self._dtype.itemsize
        return self._device.type == "cpu" and n_bytes <= _SMALL_BYTES

    def _take(self, rows: Sequence[Row]) -> Sequence[Row]:
        network = self.network
        widest = len(rows[0].prompt) + max(row.limit for row in rows)
        batch = rows[: self._loaded_budget().rows(widest)]
        if takes_padding(network):
            return batch
        return [row for row in batch if len(row.prompt) == len(batch[0].prompt)]

    def _shrink(self, n_rows: int, error: BaseException) -> None:
        """Halve the batch if memory ran out; any other error goes on."""
        if not is_out_of_memory(error):
            raise error
        error.__traceback__ = None  # it holds the frames, and with them the cache
        self._pool.clear()
        free_memory(self._device)
        self._loaded_budget().halve(n_rows, error)

    def _room(self, n_prompt: int, max_new_tokens: int) -> int:
        if self.n_context is None:
            return max_new_tokens
        return min(max_new_tokens, self.n_context - n_prompt)

    def _loaded_budget(self) -> BatchBudget:
        """Choose the size of batches by the memory that the weights have left."""
        if self._budget is None:
            chosen = self._batch_tokens or default_budget(
                self._config, self._device, self._dtype.itemsize
            )
            self._budget = BatchBudget(chosen)
        return self._budget

    def _end_tokens(self) -> frozenset[int]:
        """Return the end tokens of the generation configuration, else the tokenizer's."""
        found = getattr(self.network.generation_config, "eos_token_id", None)
        if found is None:
            found = self._tokenizer.eos_token_id
        return frozenset([found] if isinstance(found, int) else found or [])


def _start_token(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return what is sent instead of an empty prompt."""
    text = config.get_text_config(decoder=True)
    starts = (
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        getattr(text, "bos_token_id", None),
    )
    return next((token for token in starts if isinstance(token, int)), 0)
