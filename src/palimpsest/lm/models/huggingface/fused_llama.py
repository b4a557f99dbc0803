"""A Llama with few passes over memory, for small models in float32 on the CPU.

At a few million parameters, most of the time of a Llama goes into passes over memory between the
matrix products. In its fused form the norms' weights are folded into the products, products of one
input are one, the last block computes only the positions whose logits are asked for, and the two
numbers that rotary positions turn together lie next to each other, so that turning them is one
complex product.

A plain Llama is put into this form straight from its file: loading it through transformers takes
several times the processor time of a short answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers.configuration_utils import PreTrainedConfig

from palimpsest.lm.models.huggingface.checkpoint import Checkpoint
from palimpsest.lm.models.huggingface.memory import reserved_cache
from palimpsest.lm.models.huggingface.shared_weights import SharedWeights

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel

_TOLERANCE = 1e-4
"""Relative to the largest logit: float32 sums in another order stay well below it."""

_FACTS: Mapping[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "pretraining_tp": 1,
}
"""What the configuration of a plain Llama says."""

_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings",
)  # fmt: skip
"""What else it says; where something is left to a default, transformers knows it better."""

_UNKNOWN = ("quantization_config", "auto_map", "rope_scaling")


@dataclass(frozen=True)
class Block:
    """The weights of one layer; the norms' are already multiplied in."""

    query_key_value: torch.Tensor
    """Queries and keys with the halves of every head interleaved; queries come first."""

    output: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


class FusedLlama:
    """Takes the place of a ``LlamaForCausalLM`` in a decoder; float32 on the CPU.

    Args:
        config: Of the original.
        weights: By the names that they have in the original; they are copied.
        rotary: Gives the cosines and sines for some states and positions, [rows, new, head width].
        generation_config: With the original's end tokens.
    """

    def __init__(
        self,
        config: Any,
        weights: Mapping[str, torch.Tensor],
        rotary: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
        generation_config: object,
    ) -> None:
        self.config = config
        self.generation_config = generation_config
        self._rotary = rotary
        self._embeddings = weights["model.embed_tokens.weight"]
        self.device = self._embeddings.device
        head = self._embeddings if config.tie_word_embeddings else weights["lm_head.weight"]
        self._head = head * weights["model.norm.weight"]
        self._eps = float(config.rms_norm_eps)
        self._n_heads = int(config.num_attention_heads)
        self._n_key_heads = int(config.num_key_value_heads)
        self._head_width = int(config.head_dim)
        self._blocks = [
            _block(weights, f"model.layers.{layer}.", self._head_width)
            for layer in range(config.num_hidden_layers)
        ]

    def share(self, weights: SharedWeights) -> None:
        """Let other processes use the same weights."""
        own = {"embeddings": self._embeddings, "head": self._head}
        for index, block in enumerate(self._blocks):
            own |= {f"{index}.{name}": tensor for name, tensor in vars(block).items()}
        found = weights.in_common(own)
        self._embeddings, self._head = found["embeddings"], found["head"]
        self._blocks = [
            Block(**{name: found[f"{index}.{name}"] for name in vars(block)})
            for index, block in enumerate(self._blocks)
        ]

    def __call__(self, **arguments: Any) -> SimpleNamespace:
        """Return the logits as transformers' models do."""
        return SimpleNamespace(logits=self.forward(**arguments))

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        logits_to_keep: int = 1,
    ) -> torch.Tensor:
        """Return the logits of the last ``logits_to_keep`` positions.

        Args:
            input_ids: Tokens, [rows, new].
            position_ids: [rows, new].
            attention_mask: One for tokens and zero for padding, [rows, seen + new].
            past_key_values: The cache, which is written to.
            logits_to_keep: At least one.
        """
        states = functional.embedding(input_ids, self._embeddings)  # rows, new, width
        cosines, sines = self._rotary(states, position_ids)
        half = self._head_width // 2  # the second half repeats the first
        rotation = torch.complex(cosines[:, :, None, :half], sines[:, :, None, :half])
        n_seen = past_key_values.get_seq_length()
        mask = _mask(attention_mask, n_seen, input_ids.shape[1])
        n_last = len(self._blocks) - 1
        for index, block in enumerate(self._blocks):
            n_kept = logits_to_keep if index == n_last and logits_to_keep == 1 else 0
            layer = past_key_values.layers[index]
            states = self._block(block, states, layer, rotation, mask, n_kept)
        return functional.linear(self._normed(states[:, -logits_to_keep:]), self._head)

    def _block(
        self,
        block: Block,
        states: torch.Tensor,
        layer: Any,
        rotation: torch.Tensor,
        mask: torch.Tensor | None,
        n_kept: int,
    ) -> torch.Tensor:
        rows, n_new, width = states.shape
        causal = mask is None and n_new > 1
        normed = self._normed(states)
        if n_kept and n_new > n_kept:
            n_query = self._n_heads * self._head_width
            pairs = self._heads(normed, block.query_key_value[n_query:])
            states, causal = states[:, -n_kept:], False
            queries = self._heads(normed[:, -n_kept:], block.query_key_value[:n_query])
            _rotate(queries, rotation[:, -n_kept:])
            _rotate(pairs[:, :, : self._n_key_heads], rotation)
            mask = None if mask is None else mask[:, :, -n_kept:]
        else:
            heads = self._heads(normed, block.query_key_value)
            queries, pairs = heads[:, :, : self._n_heads], heads[:, :, self._n_heads :]
            _rotate(heads[:, :, : self._n_heads + self._n_key_heads], rotation)
        keys, values = pairs.transpose(1, 2).chunk(2, 1)
        keys, values = layer.update(keys, values)
        attended = functional.scaled_dot_product_attention(
            queries.transpose(1, 2),
            keys,
            values,
            attn_mask=mask,
            is_causal=causal,
            enable_gqa=self._n_key_heads != self._n_heads,
        )
        flat = states.reshape(-1, width)
        mixed = attended.transpose(1, 2).reshape(flat.shape[0], -1)
        flat = torch.addmm(flat, mixed, block.output)
        gate, up = functional.linear(self._normed(flat), block.gate_up).chunk(2, -1)
        inner = functional.silu(gate, inplace=True).mul_(up)
        return flat.addmm_(inner, block.down).view(rows, -1, width)

    def _heads(self, states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        rows, n_new, _ = states.shape
        return functional.linear(states, weight).view(rows, n_new, -1, self._head_width)

    def _normed(self, states: torch.Tensor) -> torch.Tensor:
        """Divide by the root mean square; the weight is in the product that follows."""
        scale: torch.Tensor = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
        return states * scale.square_().div_(states.shape[-1]).add_(self._eps).rsqrt_()


def fused(network: PreTrainedModel) -> FusedLlama | None:
    """Return the fused form of a network if there is one and its logits are the same."""
    from transformers import LlamaForCausalLM

    model: Any = network
    config = model.config
    if (
        type(network) is not LlamaForCausalLM
        or network.device.type != "cpu"
        or network.dtype != torch.float32
        or config.hidden_act != "silu"
        or config.attention_bias
        or config.mlp_bias
    ):
        return None
    with torch.inference_mode():
        candidate = FusedLlama(
            config, network.state_dict(), model.model.rotary_emb, network.generation_config
        )
        return candidate if _agrees(candidate, network) else None


class PlainLlamaConfig(PreTrainedConfig):
    """Says what its file says; transformers' own class takes longer to import than an answer."""

    model_type = "llama"


def plain_config(facts: Mapping[str, Any]) -> PlainLlamaConfig | None:
    """Return the configuration of a plain Llama, and of nothing else, from its file's content."""
    rope = facts.get("rope_parameters")
    if (
        not isinstance(rope, dict)
        or rope.keys() != {"rope_theta", "rope_type"}
        or rope["rope_type"] != "default"
        or any(facts.get(name) != value for name, value in _FACTS.items())
        or any(facts.get(name) is not None for name in _UNKNOWN)
        or not all(type(facts.get(name)) is int for name in _SIZES)
        or not {"rms_norm_eps", "tie_word_embeddings"} <= facts.keys()
    ):
        return None
    return PlainLlamaConfig(**facts)


def plain_shapes(config: PlainLlamaConfig) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of a plain Llama's tensors by their names, tied ones once."""
    width, inner, head = config.hidden_size, config.intermediate_size, config.head_dim
    n_queries, n_keys = config.num_attention_heads * head, config.num_key_value_heads * head
    shapes = {
        "model.embed_tokens.weight": (config.vocab_size, width),
        "model.norm.weight": (width,),
    }
    layer = {
        "self_attn.q_proj": (n_queries, width),
        "self_attn.k_proj": (n_keys, width),
        "self_attn.v_proj": (n_keys, width),
        "self_attn.o_proj": (width, n_queries),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
        "input_layernorm": (width,),
        "post_attention_layernorm": (width,),
    }
    for index in range(config.num_hidden_layers):
        shapes |= {f"model.layers.{index}.{name}.weight": layer[name] for name in layer}
    return (
        shapes
        if config.tie_word_embeddings
        else {**shapes, "lm_head.weight": shapes["model.embed_tokens.weight"]}
    )


def open_plain(checkpoint: Checkpoint, config: PlainLlamaConfig) -> FusedLlama | None:
    """Open a plain Llama in its fused form; ``None`` where its tensors are not as expected.

    Args:
        checkpoint: With weights in safetensors.
        config: What :func:`plain_config` gave.
    """
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = {}
    for path in checkpoint.weights:
        weights |= {name: tensor.float() for name, tensor in load_file(path).items()}
    return fuse_plain(weights, checkpoint, config)


def fuse_plain(
    weights: Mapping[str, torch.Tensor], checkpoint: Checkpoint, config: PlainLlamaConfig
) -> FusedLlama | None:
    """Put the weights of a plain Llama into their fused form.

    Args:
        weights: By name, in float32.
        checkpoint: Whose end tokens it has.
        config: What :func:`plain_config` gave.

    Returns:
        ``None`` where the tensors are not as expected.
    """
    shapes = plain_shapes(config)
    if {name: tuple(tensor.shape) for name, tensor in weights.items()} != shapes:
        return None
    generation_config = generation_settings(checkpoint, config)
    rotary = _Rotary(config.head_dim, config.rope_parameters["rope_theta"])
    with torch.inference_mode():
        return FusedLlama(config, weights, rotary, generation_config)


def generation_settings(checkpoint: Checkpoint, config: PreTrainedConfig) -> GenerationConfig:
    """Return the generation configuration that transformers gives a checkpoint's network."""
    from transformers import GenerationConfig

    if (checkpoint.folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(checkpoint.folder)
    return GenerationConfig.from_model_config(config)


class _Rotary:
    """Rotary positions (Su et al., 2021), with the halves of a head side by side."""

    def __init__(self, head_width: int, theta: float) -> None:
        exponents = torch.arange(0, head_width, 2, dtype=torch.int64).float() / head_width
        self._frequencies = 1.0 / theta**exponents

    def __call__(
        self, states: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        angles = positions[:, :, None].float() * self._frequencies
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()


def _agrees(candidate: FusedLlama, network: PreTrainedModel) -> bool:
    ids = torch.arange(12).view(2, 6) % network.config.vocab_size
    mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    arguments: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
    }
    ours = candidate.forward(
        **arguments, past_key_values=reserved_cache(network.config, 2, 6), logits_to_keep=1
    )
    theirs = network(**arguments, logits_to_keep=1).logits
    return float((ours - theirs).abs().max()) <= _TOLERANCE * max(1.0, float(theirs.abs().max()))


def _block(weights: Mapping[str, torch.Tensor], layer: str, head_width: int) -> Block:
    def of(name: str) -> torch.Tensor:
        return weights[f"{layer}{name}.weight"]

    queries = _interleaved(of("self_attn.q_proj"), head_width)
    keys = _interleaved(of("self_attn.k_proj"), head_width)
    heads = torch.cat([queries, keys, of("self_attn.v_proj")])
    gate_up = torch.cat([of("mlp.gate_proj"), of("mlp.up_proj")])
    return Block(
        query_key_value=heads * of("input_layernorm"),
        output=of("self_attn.o_proj").t().contiguous(),
        gate_up=gate_up * of("post_attention_layernorm"),
        down=of("mlp.down_proj").t().contiguous(),
    )


def _interleaved(weight: torch.Tensor, head_width: int) -> torch.Tensor:
    """Put entry i of the second half of each head behind entry i of the first.

    Queries and keys in the same new order have the same products.
    """
    return (
        weight.view(-1, 2, head_width // 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
    )


def _rotate(heads: torch.Tensor, rotation: torch.Tensor) -> None:
    """Turn neighbouring pairs by the position, in place: rows, new, heads, width."""
    torch.view_as_complex(heads.unflatten(-1, (-1, 2))).mul_(rotation)


def _mask(attention_mask: torch.Tensor | None, n_seen: int, n_new: int) -> torch.Tensor | None:
    """Return which of all positions each new one may look at, or None if the kernel knows."""
    if attention_mask is None and (n_seen == 0 or n_new == 1):
        return None
    positions = torch.arange(n_seen + n_new)
    allowed = (positions <= positions[n_seen:, None])[None, None]
    if attention_mask is not None:
        allowed = allowed & attention_mask[:, None, None].bool()
    return allowed
