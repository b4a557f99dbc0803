"""One network for many models: weights replaced in place for whoever asks next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface.causal import CausalModel
from palimpsest.lm.models.huggingface.fused_llama import (
    FusedLlama,
    PlainLlamaConfig,
    fuse_plain,
    generation_settings,
)
from palimpsest.lm.models.huggingface.memory import free_memory
from palimpsest.lm.models.protocol import Decided, Generation
from palimpsest.lm.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from palimpsest.lm.models.huggingface.model import HuggingFaceModel

Weights = Callable[[], Iterator[tuple[str, torch.Tensor]]]
"""Gives every tensor with its name in the checkpoint's files, in the dtype in which it would be
stored. A tensor may be gone when the next one is asked for."""


class SharedNetwork:
    """A checkpoint's network, loaded once and lent to one model after the other.

    Whoever borrows it brings its own weights, which replace in place those of the borrower before.

    Args:
        original: The model whose network it is.
    """

    def __init__(self, original: HuggingFaceModel) -> None:
        self.original = original
        self.n_loaded = 0
        """How often the network was read from its files."""
        self.borrower: object = None
        """Whose weights are in it."""
        self._network: PreTrainedModel | None = None
        self._places: Mapping[str, torch.Tensor] = {}
        self._fused_by: ReweightedModel | None = None

    def fuse(self, borrower: ReweightedModel) -> None:
        """Let go of the fused form that another borrower has, before there is one more."""
        if self._fused_by is not None and self._fused_by is not borrower:
            self._fused_by.forget_fused()
        self._fused_by = borrower

    def borrow(self, borrower: ReweightedModel) -> PreTrainedModel:
        """Return the network with the borrower's weights in it.

        Raises:
            UserError: A tensor has no place in the network.
        """
        if self._network is None:
            self._network = self.original.open_network()
            self._places = _places(self._network)
            self.n_loaded += 1
        if self.borrower is not borrower:
            self.borrower = None  # while weights are being replaced they are nobody's
            self._put(borrower.weights)
            config = generation_settings(borrower.original.checkpoint, borrower.config)
            self._network.generation_config = config
            self.borrower = borrower
        return self._network

    def close(self) -> None:
        """Free the network; a later question would load it again."""
        self._network, self._places, self.borrower = None, {}, None
        free_memory(self.original.device)

    def _put(self, weights: Weights) -> None:
        missing = set(self._places)
        with torch.no_grad():
            for name, tensor in weights():
                place = self._places.get(name)
                if place is not None:
                    place.copy_(tensor)
                    missing.discard(name)
        left = {self._places[name].data_ptr() for name in missing} - {
            place.data_ptr() for name, place in self._places.items() if name not in missing
        }
        if left:
            name = min(name for name in missing if self._places[name].data_ptr() in left)
            raise UserError(
                f"The network of '{self.original.spec}' has a tensor '{name}' that its files store "
                "under another name, so that it cannot be replaced in place.",
                hint="Write the member to a folder, and ask that.",
            )


def _places(network: PreTrainedModel) -> Mapping[str, torch.Tensor]:
    """Return the tensors of a network by name, also without the prefix that files may leave out."""
    named = network.state_dict()
    prefix = f"{network.base_model_prefix}."
    return named | {
        name.removeprefix(prefix): tensor
        for name, tensor in named.items()
        if name.startswith(prefix) and name.removeprefix(prefix) not in named
    }


class ReweightedModel(CausalModel):
    """A model that asks a shared network with weights of its own.

    Args:
        original: From files; whose tokenizer, form, dtype and end tokens it has.
        shared: The network, of the same architecture.
        weights: Gives its tensors; called when it is asked and the network has others.
        spec: What to call it in records.
        fingerprint: Identifies these weights and the rest that decides answers.
        facts: For the report, besides the original's.
    """

    def __init__(
        self,
        original: HuggingFaceModel,
        shared: SharedNetwork,
        weights: Weights,
        *,
        spec: str,
        fingerprint: str,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        options = original.options
        super().__init__(
            spec,
            fingerprint=fingerprint,
            name=spec,
            config=original.config,
            tokenizer=original.tokenizer,
            device=original.device,
            dtype=original.dtype,
            n_embeddings=original.n_embeddings,
            chat=options.chat,
            batch_tokens=options.batch_tokens,
            thinking_tokens=options.thinking_tokens,
            template=options.template,
        )
        self.original = original
        self.weights = weights
        self._shared = shared
        self._facts = facts or {}
        self._can_fuse = True

    @property
    def network(self) -> PreTrainedModel:
        """The shared network with this model's weights in it."""
        return self._shared.borrow(self)

    def forget_fused(self) -> None:
        """Free the fused form; a later question makes it again."""
        self._fast = None

    def describe(self) -> Mapping[str, str]:
        """Return the facts of the original, with its own."""
        return {**self.original.describe(), **self._facts, "fingerprint": self.fingerprint}

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        decided: Decided | None = None,
    ) -> Iterator[tuple[int, Generation]]:
        """Continue every prompt greedily; nobody else may ask the network before the last one.

        Raises:
            RuntimeError: Somebody else did.
        """
        for answer in super().generate(
            prompts, max_new_tokens=max_new_tokens, stop=stop, decided=decided
        ):
            yield answer
            if self._fast is None and self._shared.borrower is not self:
                raise RuntimeError(
                    f"'{self.spec}' lost its weights to another member while it was answering."
                )

    def _load(self) -> PreTrainedModel:
        return self._shared.borrow(self)

    @property
    def _fastest(self) -> PreTrainedModel | FusedLlama:
        """The fused form, which has weights of its own, or else the shared network."""
        if self._fast is None and self._can_fuse and self._is_small:
            self._shared.fuse(self)
            self._fast = self._load_fused()
            self._can_fuse = self._fast is not None
        return self._fast or self.network

    def _load_fused(self) -> FusedLlama | None:
        config = self.config
        if (
            isinstance(config, PlainLlamaConfig)
            and self._dtype == torch.float32
            and self.original.adapter is None
        ):
            weights = {name: tensor.float().clone() for name, tensor in self.weights()}
            return fuse_plain(weights, self.original.checkpoint, config) or super()._load_fused()
        return super()._load_fused()

    def _count_parameters(self) -> int:
        return self.original.n_parameters
