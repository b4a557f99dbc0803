"""A network that is in memory already, such as one in training, asked like a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface.asker import NetworkAsker
from palimpsest.lm.models.protocol import Decided, Generation
from palimpsest.lm.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class InMemoryModel:
    r"""A causal language model whose weights somebody else has loaded, and perhaps trains.

    It is asked as it is: in its own dtype, on its own device, with its adapters, and with whatever
    wraps its ``forward``, such as autocast. Its weights must stay the same for as long as this
    object is used; make a new one after every update.

    Args:
        network: In evaluation mode.
        tokenizer: The one that it was trained with.
        name: What to call it, in messages and in records.
        fingerprint: Identifies these very weights: answers that are stored under it are used again.
        chat: Whether plain text is sent as one user message through the chat template.

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
        chat: bool = False,
    ) -> None:
        _check(network, name)
        self._network = network
        self._name = name
        self._fingerprint = fingerprint
        self._asker = NetworkAsker(
            lambda: network,
            config=network.config,
            tokenizer=tokenizer,
            name=name,
            device=network.device,
            dtype=network.dtype,
            n_parameters=network.num_parameters,
            n_embeddings=network.config.get_text_config(decoder=True).vocab_size,
            chat=chat,
        )

    @property
    def spec(self) -> str:
        """The name that the caller gave."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """The fingerprint that the caller gave."""
        return self._fingerprint

    def describe(self) -> Mapping[str, str]:
        """Return facts for a report."""
        return {
            "architecture": type(self._network).__name__,
            "parameters": f"{self._network.num_parameters():,}",
            "device": str(self._network.device),
            "dtype": str(self._network.dtype).removeprefix("torch."),
            "fingerprint": self._fingerprint,
        }

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
        """Return, for each prompt, the natural-log probability of each candidate continuation."""
        return self._asker.score(prompts, candidates)

    def close(self) -> None:
        """Free caches and copies; the network itself stays with its owner."""
        self._asker.close()


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
