"""Models from Hugging Face checkpoints: ``hf:PATH_OR_ID[,dtype=…,device=…,adapter=PATH,…]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from palimpsest.errors import UserError
from palimpsest.lm.models.batching import (
    BatchBudget,
    default_budget,
    free_memory,
    is_out_of_memory,
)
from palimpsest.lm.models.cache import CacheMemory, MemoryPool
from palimpsest.lm.models.checkpoint import find_adapter, find_model
from palimpsest.lm.models.decoders import Decoder, new_decoder, takes_padding
from palimpsest.lm.models.decoding import Row, decode_greedily
from palimpsest.lm.models.fingerprint import Fingerprint
from palimpsest.lm.models.likelihood import score_candidates
from palimpsest.lm.models.llama import FusedLlama, fused
from palimpsest.lm.models.loading import (
    count_parameters,
    load_adapter,
    load_config,
    load_network,
    load_tokenizer,
)
from palimpsest.lm.models.options import HuggingFaceOptions, choose_device, choose_dtype
from palimpsest.lm.models.protocol import Decided, Generation
from palimpsest.lm.models.specs import ModelSpec
from palimpsest.lm.models.threads import DividedDecoder, Threads
from palimpsest.lm.models.tokenization import PromptEncoder
from palimpsest.lm.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel


_SMALL_BYTES = 256 * 2**20
"""Weights up to which a model on the CPU is small: each core gets rows of its own, so that all of
them read the weights, and a copy may be made for a faster form of the same network."""


class HuggingFaceModel:
    """A causal language model, asked greedily in batches.

    Files are found, checked and hashed at once; the weights come into memory with the first
    question and leave it with :meth:`close`. Sampling, minimum lengths, penalties and the like in
    ``generation_config.json`` are ignored: decoding is greedy. Only its end tokens are used.

    A prompt that leaves no room for an answer in the model's context gets an empty answer with
    ``finish="length"``, is counted in :attr:`n_too_long`, and does not stop the run.

    Args:
        spec: What the user wrote.
        options: The options in it.

    Raises:
        UserError: The checkpoint is missing or cannot be used.
    """

    def __init__(self, spec: ModelSpec, options: HuggingFaceOptions) -> None:
        self._spec = spec
        self._options = options
        self._checkpoint = find_model(
            spec.target,
            revision=options.revision,
            pickle=options.pickle,
            code=options.trust_remote_code,
        )
        self._adapter = (
            find_adapter(options.adapter, pickle=options.pickle) if options.adapter else None
        )
        code = options.trust_remote_code
        self.config = load_config(self._checkpoint, trust_remote_code=code)
        self._device = choose_device(options.device)
        self._dtype = choose_dtype(options.dtype, self.config, self._device)
        # An adapter that was saved with its tokenizer may have added tokens or a chat template.
        with_tokenizer = (
            self._adapter if self._adapter and self._adapter.has_tokenizer else self._checkpoint
        )
        self.tokenizer = load_tokenizer(with_tokenizer, trust_remote_code=code)
        self._encoder = self._new_encoder()
        parts = {"model": self._checkpoint, "adapter": self._adapter}
        self._fingerprint = Fingerprint(
            {part: checkpoint for part, checkpoint in parts.items() if checkpoint is not None},
            {
                "dtype": str(self._dtype),
                "device": self._device.type,
                "chat": options.chat,
                "trust_remote_code": code,
            },
            code=code,
        )
        self._network: PreTrainedModel | None = None
        self._budget: BatchBudget | None = None
        self._fast: PreTrainedModel | FusedLlama | None = None
        self._threads: Threads | None = None
        self._pool = MemoryPool()
        self.n_too_long = 0
        """How many prompts so far did not fit into the model's context."""

    @property
    def spec(self) -> str:
        """The text that the user wrote to name the model."""
        return self._spec.text

    @property
    def fingerprint(self) -> str:
        """Hash of weights, configuration, tokenizer, adapter, dtype, kind of device and options."""
        return self._fingerprint.text

    @property
    def chat(self) -> bool:
        """Whether plain text is sent as one user message."""
        return self._options.chat

    @property
    def n_context(self) -> int | None:
        """How many tokens the model can look back, prompt and answer together, if it says so."""
        text = self.config.get_text_config(decoder=True)
        found = getattr(text, "max_position_embeddings", None)
        return found if isinstance(found, int) and found > 0 else None

    def describe(self) -> Mapping[str, str]:
        """Return facts for the report; the weights are not loaded for it."""
        facts = {
            "architecture": (self.config.architectures or [self.config.model_type])[0],
            "parameters": f"{self._n_parameters:,}",
            "device": _device_name(self._device),
            "dtype": str(self._dtype).removeprefix("torch."),
            "revision": self._checkpoint.revision,
            "tokenizer": f"{type(self.tokenizer).__name__}, {len(self.tokenizer):,} tokens",
            "context": f"{self.n_context:,} tokens" if self.n_context else "not stated",
            "chat template": "used" if self._options.chat else "not used for plain text",
            "fingerprint": self.fingerprint,
        }
        if self._adapter is not None:
            facts["adapter"] = self._adapter.name
        if self._checkpoint.pickled:
            facts["weights"] = "pickle, opened because pickle=true was given"
        if self.n_too_long:
            facts["prompts too long"] = f"{self.n_too_long:,}"
        return facts

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
        for index, ids in enumerate(self._encoder.encode(prompts)):
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
            self._encoder,
            prompts,
            candidates,
            n_context=self.n_context,
            budget=self._loaded_budget(),
        )

    def close(self) -> None:
        """Free the weights; a later question would load them again."""
        self._network = self._fast = None
        self._pool.clear()
        if self._threads is not None:
            self._threads.close()
            self._threads = None
        free_memory(self._device)

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
                self.tokenizer,
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

    @property
    def _is_small(self) -> bool:
        n_bytes = self._n_parameters * self._dtype.itemsize
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

    @property
    def network(self) -> PreTrainedModel:
        """The network with its weights, which are loaded at the first call."""
        if self._network is None:
            if not self._fingerprint.holds():
                raise UserError(
                    f"The files of '{self.spec}' have changed since it was opened.",
                    hint="Run the command again; answers would be filed under the wrong model.",
                )
            network = load_network(
                self._checkpoint,
                self.config,
                device=self._device,
                dtype=self._dtype,
                trust_remote_code=self._options.trust_remote_code,
            )
            if self._adapter is not None:
                network = load_adapter(network, self._adapter, n_tokens=len(self.tokenizer))
            self._network = network
        return self._network

    def _loaded_budget(self) -> BatchBudget:
        """Choose the size of batches by the memory that the weights have left."""
        if self._budget is None:
            chosen = self._options.batch_tokens or default_budget(
                self.config, self._device, self._dtype.itemsize
            )
            self._budget = BatchBudget(chosen)
        return self._budget

    def _new_encoder(self) -> PromptEncoder:
        text = self.config.get_text_config(decoder=True)
        n_embeddings = text.vocab_size
        if self._adapter is not None:
            n_embeddings = max(n_embeddings, len(self.tokenizer))
        starts = (
            self.tokenizer.bos_token_id,
            self.tokenizer.eos_token_id,
            getattr(text, "bos_token_id", None),
        )
        return PromptEncoder(
            self.tokenizer,
            name=self._checkpoint.name,
            chat=self._options.chat,
            n_embeddings=n_embeddings,
            start=next((token for token in starts if isinstance(token, int)), 0),
        )

    def _end_tokens(self) -> frozenset[int]:
        """Return the end tokens of the generation configuration, else the tokenizer's."""
        network = self.network
        found = getattr(network.generation_config, "eos_token_id", None)
        if found is None:
            found = self.tokenizer.eos_token_id
        return frozenset([found] if isinstance(found, int) else found or [])

    @cached_property
    def _n_parameters(self) -> int:
        """Count without weights, on the meta device; an adapter's own are left out."""
        return count_parameters(
            self._checkpoint, self.config, trust_remote_code=self._options.trust_remote_code
        )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
