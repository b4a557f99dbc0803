"""One network for many models: weights replaced in place for whoever asks next."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface.causal import CausalModel
from palimpsest.lm.models.huggingface.fused_llama import (
    FusedLlama,
    PlainLlamaConfig,
    fuse_plain,
    generation_settings,
)
from palimpsest.lm.models.huggingface.memory import free_memory
from palimpsest.lm.models.protocol import Decided, Generation, Origin
from palimpsest.lm.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from palimpsest.lm.models.huggingface.model import HuggingFaceModel

Put = Callable[[str, tuple[int, ...], int, torch.Tensor], None]
"""Takes rows of a tensor: its name in the checkpoint's files, its shape, the number of the first
row, and the rows in the dtype in which they would be stored. Several threads may call it at once,
and the rows are gone when it returns."""

Weights = Callable[[Put], None]
"""Hands over tensors, in pieces."""

_PEFT = re.compile(
    r"^base_model\.model\.|\.base_layer|\.original_module|\.modules_to_save\.default"
)
_ADAPTER = "default"
"""What PEFT calls the one adapter of a network."""


class Background(NamedTuple):
    """Tensors below those of an adapter."""

    key: str
    """Tells them from others; what is in the network already is not put again."""

    weights: Weights


class SharedNetwork:
    """A checkpoint's network, loaded once and lent to one model after the other.

    Whoever borrows it brings its own weights, which replace in place those of the borrower before.

    Args:
        original: The model whose network it is.
        background: The key of the background that it has when it is loaded.
    """

    def __init__(self, original: HuggingFaceModel, *, background: str = "") -> None:
        self.original = original
        self.n_loaded = 0
        """How often the network was read from its files."""
        self.borrower: ReweightedModel | None = None
        """Whose weights are in it."""
        self._first_background = background
        self._background: str | None = None
        self._network: PreTrainedModel | None = None
        self._places: Mapping[str, list[torch.Tensor]] = {}
        self._fused_by: ReweightedModel | None = None
        self._lock = Lock()

    def fuse(self, borrower: ReweightedModel) -> None:
        """Let go of the fused form that another borrower has, before there is one more."""
        if self._fused_by is not None and self._fused_by is not borrower:
            self._fused_by.forget_fused()
        self._fused_by = borrower

    def borrow(self, borrower: ReweightedModel) -> PreTrainedModel:
        """Return the network with the borrower's weights in it.

        Raises:
            UserError: A tensor of the network is stored under another name.
        """
        if self._network is None:
            self._network = self.original.open_network()
            self._places = _places(self._network)
            self._background = self._first_background
            self.n_loaded += 1
        if self.borrower is not borrower:
            self.borrower = None  # while weights are being replaced they are nobody's
            self._fill(borrower)
            config = generation_settings(borrower.original.checkpoint, borrower.config)
            self._network.generation_config = config
            self.borrower = borrower
        return self._network

    def close(self) -> None:
        """Free the network; a later question would load it again."""
        self._network, self._places, self.borrower = None, {}, None
        free_memory(self.original.device)

    def _fill(self, borrower: ReweightedModel) -> None:
        background, filled = borrower.background, defaultdict[int, int](int)
        if background is not None and background.key != self._background:
            self._background = None
            self._put(background.weights, filled)
            self._background = background.key
        self._put(borrower.weights, filled)
        if background is None and self._network is not None:
            for name, tensor in self._network.state_dict().items():
                if filled[_storage(tensor)] < tensor.numel():
                    raise UserError(
                        f"The tensor '{name}' of the network of '{self.original.spec}' is put "
                        "together of its files in a way that cannot be done in place.",
                        hint="Write the member to a folder, and ask that.",
                    )

    def _put(self, weights: Weights, filled: dict[int, int]) -> None:
        def put(name: str, shape: tuple[int, ...], first: int, rows: torch.Tensor) -> None:
            for place in self._places.get(name, ()):
                target = place if place.ndim else place.view(1)
                target[first : first + len(rows)].copy_(rows)
                with self._lock:
                    filled[_storage(place)] += rows.numel()

        with torch.no_grad():
            weights(put)


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _places(network: PreTrainedModel) -> Mapping[str, list[torch.Tensor]]:
    """Return the tensors of a network by the names that files may have for them.

    That is also without the prefix that some leave out, and for an adapted network both as the base
    and as the adapter have it.
    """
    found: dict[str, list[torch.Tensor]] = defaultdict(list)
    named = network.state_dict()
    prefix = f"{network.base_model_prefix}."
    of_base: dict[str, torch.Tensor] = {}
    for name, tensor in named.items():
        as_in_base = _PEFT.sub("", name)
        of_base[as_in_base] = tensor
        without = as_in_base.removeprefix(prefix) if as_in_base.startswith(prefix) else name
        as_in_adapter = name.replace(f".modules_to_save.{_ADAPTER}", "")
        as_in_adapter = as_in_adapter.replace(f".{_ADAPTER}", "")
        for each in {name, as_in_base, without, as_in_adapter}:
            found[each].append(tensor)
    storages = {_storage(tensor) for tensor in named.values()}
    for name, tensor in _as_saved(network, of_base).items():
        # Parts of a tensor of the network, such as one expert of many: in place, if they are views.
        if name not in found and _storage(tensor) in storages:
            found[name].append(tensor)
    return found


def _as_saved(
    network: PreTrainedModel, tensors: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """Return tensors under the names, and in the parts, in which transformers saves them."""
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # a release in which names are as they are
        return {}
    inner: Any = network
    if hasattr(network, "peft_config"):
        inner = inner.get_base_model()
    with _Views():
        saved: Mapping[str, torch.Tensor] = revert_weight_conversion(inner, dict(tensors))
    return saved


class _Views(TorchFunctionMode):
    """Lets parts of a tensor be views of it where they would be made copies."""

    _COPYING = (torch.Tensor.contiguous, torch.Tensor.clone)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in self._COPYING else func(*args, **(kwargs or {}))


class ReweightedModel(CausalModel):
    """A model that asks a shared network with weights of its own.

    Args:
        original: From files; whose tokenizer, form, dtype and end tokens it has.
        shared: The network, of the same architecture.
        weights: Hands over its tensors; called when it is asked and the network has others.
        spec: What to call it in records.
        fingerprint: Identifies these weights and the rest that decides answers.
        background: Of an adapter, the tensors below it; the weights are then the adapter's alone.
        plain: Hands over all tensors by the names of a whole model's files; ``None`` where there is
            no such model.
        facts: For the report, besides the original's.
        origin: How another process comes to the same model.
    """

    def __init__(
        self,
        original: HuggingFaceModel,
        shared: SharedNetwork,
        weights: Weights,
        *,
        spec: str,
        fingerprint: str,
        background: Background | None = None,
        plain: Weights | None = None,
        facts: Mapping[str, str] | None = None,
        origin: Origin,
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
        self.background = background
        self.origin = origin
        self._shared = shared
        self._plain = plain
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
            if self._fast is None and self._shared.borrower not in (self, None):
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
            self._plain is not None
            and isinstance(config, PlainLlamaConfig)
            and self._dtype == torch.float32
        ):
            weights: dict[str, torch.Tensor] = {}

            def put(name: str, shape: tuple[int, ...], first: int, rows: torch.Tensor) -> None:
                whole = weights.setdefault(name, torch.empty(shape))
                whole.view(-1, *shape[1:])[first : first + len(rows)].copy_(rows)

            self._plain(put)
            return fuse_plain(weights, self.original.checkpoint, config) or super()._load_fused()
        return super()._load_fused()

    def _count_parameters(self) -> int:
        return self.original.n_parameters
