"""Models from Hugging Face checkpoints: ``hf:PATH_OR_ID[,dtype=…,device=…,adapter=PATH,…]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface.asker import NetworkAsker
from palimpsest.lm.models.huggingface.batching import free_memory
from palimpsest.lm.models.huggingface.checkpoint import find_adapter, find_model
from palimpsest.lm.models.huggingface.fingerprint import Fingerprint
from palimpsest.lm.models.huggingface.loading import (
    count_parameters,
    load_adapter,
    load_config,
    load_network,
    load_tokenizer,
)
from palimpsest.lm.models.huggingface.options import HuggingFaceOptions, choose_device, choose_dtype
from palimpsest.lm.models.protocol import Decided, Generation
from palimpsest.lm.prompts import Prompt
from palimpsest.specs import Spec

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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

    def __init__(self, spec: Spec, options: HuggingFaceOptions) -> None:
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
        self._asker = self._new_asker()
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
        return self._asker.n_context

    @property
    def n_too_long(self) -> int:
        """How many prompts so far did not fit into the model's context."""
        return self._asker.n_too_long

    @property
    def network(self) -> PreTrainedModel:
        """The network with its weights, which are loaded at the first call."""
        return self._asker.network

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
        return self._asker.generate(
            prompts, max_new_tokens=max_new_tokens, stop=stop, decided=decided
        )

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return, for each prompt, the natural-log probability of each candidate continuation.

        Context and continuation are encoded together and divided where the context's own tokens
        end, with trailing spaces of the context counted to the continuation, as
        lm-evaluation-harness does it. A candidate that does not fit into the context of the model
        scores minus infinity.
        """
        return self._asker.score(prompts, candidates)

    def close(self) -> None:
        """Free the weights; a later question would load them again."""
        self._asker.close()
        free_memory(self._device)

    def _load(self) -> PreTrainedModel:
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
        return network

    def _new_asker(self) -> NetworkAsker:
        n_embeddings = self.config.get_text_config(decoder=True).vocab_size
        if self._adapter is not None:
            n_embeddings = max(n_embeddings, len(self.tokenizer))
        return NetworkAsker(
            self._load,
            config=self.config,
            tokenizer=self.tokenizer,
            name=self._checkpoint.name,
            device=self._device,
            dtype=self._dtype,
            n_parameters=lambda: self._n_parameters,
            n_embeddings=n_embeddings,
            chat=self._options.chat,
            batch_tokens=self._options.batch_tokens,
        )

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
