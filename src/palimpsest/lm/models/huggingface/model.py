"""Causal models from a checkpoint, ``hf:PATH_OR_ID[,key=value…]``, and from a network in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface.causal import CausalModel
from palimpsest.lm.models.huggingface.checkpoint import (
    Checkpoint,
    Fingerprint,
    find_adapter,
    find_model,
)
from palimpsest.lm.models.huggingface.fused_llama import FusedLlama, PlainLlamaConfig, open_plain
from palimpsest.lm.models.huggingface.loading import (
    choose_device,
    choose_dtype,
    count_embeddings,
    count_parameters,
    load_adapter,
    load_config,
    load_network,
    load_tokenizer,
    without_weights,
)
from palimpsest.lm.models.huggingface.memory import free_memory, trim_heap
from palimpsest.lm.models.huggingface.options import HuggingFaceOptions
from palimpsest.lm.models.huggingface.shared_weights import SharedWeights
from palimpsest.lm.models.huggingface.spreading import Placed, fits, free_memory_of_gpus, place
from palimpsest.lm.models.huggingface.stored import stored_weights
from palimpsest.lm.models.protocol import Origin
from palimpsest.lm.models.specs import load_model_from
from palimpsest.specs import Spec

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_USED = {True: "used", False: "not used", None: "used for messages alone"}


class HuggingFaceModel(CausalModel):
    """A causal language model from files in Hugging Face format.

    Files are found, checked and hashed at once; the weights come into memory with the first
    question and leave it with :meth:`close`.

    Args:
        spec: What the user wrote.
        options: The options in it.

    Raises:
        UserError: The checkpoint is missing or cannot be used.
    """

    def __init__(self, spec: Spec, options: HuggingFaceOptions) -> None:
        pickle, code = options.pickle, options.trust_remote_code
        self.options = options
        self._shared: tuple[SharedWeights, ...] = ()
        self._devices: tuple[int | str, ...] = ()
        self._checkpoint = find_model(
            spec.target, revision=options.revision, pickle=pickle, code=code
        )
        self._adapter = (
            find_adapter(options.adapter, pickle=pickle, code=code) if options.adapter else None
        )
        config = load_config(self._checkpoint)
        device = choose_device(options.device)
        dtype = choose_dtype(options.dtype, config, device)
        # An adapter that was saved with its tokenizer may have added tokens or a chat template.
        with_tokenizer = (
            self._adapter if self._adapter and self._adapter.has_tokenizer else self._checkpoint
        )
        tokenizer = load_tokenizer(with_tokenizer)
        parts = {"model": self._checkpoint, "adapter": self._adapter}
        self._hashed = Fingerprint(
            {part: checkpoint for part, checkpoint in parts.items() if checkpoint is not None},
            {
                "dtype": str(dtype),
                "device": device.type,
                # By default as before there was a third value: old answers are found.
                "chat": "never" if options.chat is False else options.chat is True,
                "trust_remote_code": code,
                **options.changed,
            },
        )
        super().__init__(
            spec.text,
            fingerprint=self._hashed.text,
            name=self._checkpoint.name,
            config=config,
            tokenizer=tokenizer,
            device=device,
            dtype=dtype,
            n_embeddings=count_embeddings(self._checkpoint, self._adapter, n_tokens=len(tokenizer))
            if self._adapter
            else 0,
            chat=options.chat,
            batch_tokens=options.batch_tokens,
            thinking_tokens=options.thinking_tokens,
            template=options.template,
        )

    def describe(self) -> Mapping[str, str]:
        """Return facts for the report; the weights are not loaded for it."""
        device = str(self._device)
        if self._device.type == "cuda":
            device += f" ({torch.cuda.get_device_name(self._device)})"
        if self._devices:
            device += f", spread over {len(self._devices)}"
        facts = {
            "architecture": (self.config.architectures or [self.config.model_type])[0],
            "parameters": f"{self._n_parameters:,}",
            "device": device,
            "dtype": str(self._dtype).removeprefix("torch."),
            "revision": self._checkpoint.revision,
            "tokenizer": f"{type(self.tokenizer).__name__}, {len(self.tokenizer):,} tokens",
            "context": f"{self.n_context:,} tokens" if self.n_context else "not stated",
            "chat template": _USED[self.form],
            "fingerprint": self.fingerprint,
        }
        if self._adapter is not None:
            facts["adapter"] = self._adapter.name
        if self._checkpoint.quantisation:
            facts["quantisation"] = f"dequantised from {self._checkpoint.quantisation}"
        if self._checkpoint.pickled:
            facts["weights"] = "pickle, opened because pickle=true was given"
        if self.n_too_long:
            facts["prompts too long"] = f"{self.n_too_long:,}"
        return facts

    @property
    def origin(self) -> Origin:
        """How another process opens the same model."""
        return Origin(load_model_from, (str(Path.cwd()), self.spec))

    @property
    def checkpoint(self) -> Checkpoint:
        """The files of the model."""
        return self._checkpoint

    @property
    def adapter(self) -> Checkpoint | None:
        """The files of the adapter on top of it."""
        return self._adapter

    def share_weights(self, paths: Sequence[str]) -> None:
        """Have the weights in common with other processes (:class:`.SharesWeights`)."""
        self._shared = tuple(SharedWeights(path, self.fingerprint) for path in paths)

    def close(self) -> None:
        """Free the weights; a later question would load them again."""
        super().close()
        free_memory(self._device)

    def _load(self) -> PreTrainedModel:
        if self._device.type != "cpu" or not self._shared or self._is_mapped:
            return self._open(self._placed())
        with self._shared[0].alone():
            network = self.open_network()
            self._shared[0].put(network)
            trim_heap()
        return network

    def _placed(self) -> Placed | None:
        """Return which part goes on which GPU, where there are several and one is too small."""
        if self._device.type != "cuda" or self.options.device != "auto":
            return None
        free = free_memory_of_gpus()
        if len(free) < 2 or fits(self._n_parameters * self._dtype.itemsize, free[0]):
            return None
        with without_weights(self._checkpoint) as network:
            return place(network, self._dtype, free, self._checkpoint.name)

    @property
    def _is_mapped(self) -> bool:
        """Whether transformers takes the weights from the file as they are."""
        if self._checkpoint.pickled or self._checkpoint.quantisation or self._adapter is not None:
            return False
        stored = {each.dtype for each in stored_weights(self._checkpoint).tensors.values()}
        return stored == {self._dtype}

    def open_network(self) -> PreTrainedModel:
        """Return a network with the weights, for the caller alone.

        Raises:
            UserError: The files have changed, or cannot be loaded.
        """
        return self._open(None)

    def _open(self, placed: Placed | None) -> PreTrainedModel:
        self._check_unchanged()
        network = load_network(
            self._checkpoint, device=self._device, dtype=self._dtype, placed=placed
        )
        if placed is not None:
            self._devices = tuple(dict.fromkeys(placed.values()))
        if self._adapter is not None:
            network = load_adapter(network, self._adapter, n_tokens=len(self.tokenizer))
        return network

    def _load_fused(self) -> FusedLlama | None:
        if not self._shared:
            return self._fuse()
        with self._shared[1].alone():
            fused = self._fuse()
            if fused is not None:
                fused.share(self._shared[1])
                trim_heap()
        return fused

    def _fuse(self) -> FusedLlama | None:
        config = self.config
        if (
            isinstance(config, PlainLlamaConfig)
            and self._dtype == torch.float32
            and self._adapter is None
            and not self._checkpoint.pickled
            and self._network is None
        ):
            self._check_unchanged()
            return open_plain(self._checkpoint, config) or super()._load_fused()
        return super()._load_fused()

    def _check_unchanged(self) -> None:
        if not self._hashed.holds():
            raise UserError(
                f"The files of '{self.spec}' have changed since it was opened.",
                hint="Run the command again; answers would be filed under the wrong model.",
            )

    def _count_parameters(self) -> int:
        """Count without weights, on the meta device; an adapter's own are left out."""
        return count_parameters(self._checkpoint, self.config)


class InMemoryModel(CausalModel):
    r"""A causal language model whose weights somebody else has loaded, and perhaps trains.

    It is asked as it is: in its own dtype, on its own device, with its adapters, and with whatever
    wraps its ``forward``, such as autocast. Its weights must stay the same for as long as this
    object is used; make a new one after every update. Closing it frees caches and copies; the
    network itself stays with its owner.

    Args:
        network: In evaluation mode.
        tokenizer: The one that it was trained with.
        name: What to call it, in messages and in records.
        fingerprint: Identifies these very weights: answers that are stored under it are used again.
        chat: Whether prompts go through the chat template: all, none, or (``None``) only messages.

    Raises:
        UserError: The network is in training mode, is no causal model, or works by virtual tokens.

    Example:
        >>> from palimpsest.lm.models.specs import load_model
        >>> loaded = load_model("rosetta:base")
        >>> model = InMemoryModel(
        ...     loaded.network, loaded.tokenizer, name="mine", fingerprint="step-0"
        ... )
        >>> [(_, answer)] = model.generate(["Input: What is 5 plus 7?\nOutput:"], max_new_tokens=1)
        >>> answer.text
        ' 12'
    """

    def __init__(
        self,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        fingerprint: str,
        chat: bool | None = None,
    ) -> None:
        _check(network, name)
        self._owned = network
        super().__init__(
            name,
            fingerprint=fingerprint,
            name=name,
            config=network.config,
            tokenizer=tokenizer,
            device=network.device,
            dtype=network.dtype,
            chat=chat,
        )

    def describe(self) -> Mapping[str, str]:
        """Return facts for a report."""
        return {
            "architecture": type(self._owned).__name__,
            "parameters": f"{self._n_parameters:,}",
            "device": str(self._device),
            "dtype": str(self._dtype).removeprefix("torch."),
            "fingerprint": self.fingerprint,
        }

    def _load(self) -> PreTrainedModel:
        return self._owned

    def _count_parameters(self) -> int:
        return int(self._owned.num_parameters())


def _check(network: PreTrainedModel, name: str) -> None:
    if network.training:
        raise UserError(
            f"The model '{name}' is in training mode, where dropout would spoil its answers.",
            hint="Call network.eval() before asking it, and network.train() afterwards.",
        )
    if getattr(network.config, "is_encoder_decoder", False):
        raise UserError(
            f"The model '{name}' ({network.config.model_type}) is an encoder-decoder.",
            hint="Only models that continue a text (causal language models) can be asked.",
        )
    adapter = getattr(network, "active_peft_config", None)
    if getattr(adapter, "is_prompt_learning", False):
        raise UserError(
            f"The adapter of '{name}' works by virtual tokens, which this back end does not "
            "support.",
            hint="Use an adapter that changes weights, such as LoRA.",
        )
