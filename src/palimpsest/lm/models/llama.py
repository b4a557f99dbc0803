"""A small Llama in fewer operations than transformers takes, with the same result.

At a few million parameters, most of the time goes into passes over memory between the matrix
products. Here the norms' weights are folded into the products, products of one input are one, and
the last block computes only the positions whose logits are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOLERANCE = 1e-4
"""Relative to the largest logit: float32 sums in another order stay well below it."""


@dataclass(frozen=True)
class Block:
    """The weights of one layer; the norms' are already multiplied in."""

    query: torch.Tensor
    key_value: torch.Tensor
    output: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


class FusedLlama:
    """Takes the place of a ``LlamaForCausalLM`` in a decoder; float32 on the CPU.

    Args:
        network: The original; its weights are copied.
    """

    def __init__(self, network: PreTrainedModel) -> None:
        model: Any = network
        self.config = network.config
        self.device = network.device
        self._rotary = model.model.rotary_emb
        self._embeddings = model.model.embed_tokens.weight
        self._head = model.lm_head.weight * model.model.norm.weight
        self._eps = float(model.config.rms_norm_eps)
        self._n_heads = int(model.config.num_attention_heads)
        self._n_key_heads = int(model.config.num_key_value_heads)
        self._head_width = int(model.model.layers[0].self_attn.head_dim)
        self._blocks = [_block(layer) for layer in model.model.layers]

    def __call__(self, **arguments: Any) -> SimpleNamespace:
        """Return the logits as transformers' models do."""
        return SimpleNamespace(logits=self.forward(**arguments))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        logits_to_keep: int = 1,
    ) -> torch.Tensor:
        """Return the logits of the last ``logits_to_keep`` positions.

        Args:
            input_ids: Tokens, [rows, new].
            attention_mask: One for tokens and zero for padding, [rows, seen + new].
            position_ids: [rows, new].
            past_key_values: The cache, which is written to.
            logits_to_keep: At least one.
        """
        states = functional.embedding(input_ids, self._embeddings)  # rows, new, width
        cosines, sines = self._rotary(states, position_ids)
        half = self._head_width // 2  # the second half repeats the first
        rotation = cosines[:, :, None, :half], sines[:, :, None, :half]
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
        rotation: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None,
        n_kept: int,
    ) -> torch.Tensor:
        rows, n_new, width = states.shape
        normed = self._normed(states)
        pairs = functional.linear(normed, block.key_value)
        keys, values = pairs.view(rows, n_new, 2, self._n_key_heads, -1).unbind(2)
        _rotate(keys, *rotation)
        keys, values = layer.update(keys.transpose(1, 2), values.transpose(1, 2))
        causal = mask is None and n_new > 1
        if n_kept and n_new > n_kept:
            normed, states, causal = normed[:, -n_kept:], states[:, -n_kept:], False
            rotation = rotation[0][:, -n_kept:], rotation[1][:, -n_kept:]
            mask = None if mask is None else mask[:, :, -n_kept:]
        queries = functional.linear(normed, block.query)
        queries = queries.view(rows, -1, self._n_heads, self._head_width)
        _rotate(queries, *rotation)
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

    def _normed(self, states: torch.Tensor) -> torch.Tensor:
        """Divide by the root mean square; the weight is in the product that follows."""
        scale: torch.Tensor = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
        return states * scale.square_().div_(states.shape[-1]).add_(self._eps).rsqrt_()


def fused(network: PreTrainedModel) -> FusedLlama | None:
    """Return the fused form of a network if there is one and its logits are the same."""
    from transformers import LlamaForCausalLM

    config: Any = network.config
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
        candidate = FusedLlama(network)
        return candidate if _agrees(candidate, network) else None


def _agrees(candidate: FusedLlama, network: PreTrainedModel) -> bool:
    from palimpsest.lm.models.cache import reserved_cache

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


def _block(layer: Any) -> Block:
    attention, mlp = layer.self_attn, layer.mlp
    before, between = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
    return Block(
        query=attention.q_proj.weight * before,
        key_value=torch.cat([attention.k_proj.weight, attention.v_proj.weight]) * before,
        output=attention.o_proj.weight.t().contiguous(),
        gate_up=torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) * between,
        down=mlp.down_proj.weight.t().contiguous(),
    )


def _rotate(heads: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> None:
    """Turn the two halves of every head by its position, in place: rows, new, heads, width."""
    first, second = heads.chunk(2, -1)
    turned = (first * cosines).sub_(second * sines)
    second.mul_(cosines).add_(first * sines)
    first.copy_(turned)


def _mask(attention_mask: torch.Tensor | None, n_seen: int, n_new: int) -> torch.Tensor | None:
    """Return which of all positions each new one may look at, or None if the kernel knows."""
    if attention_mask is None and (n_seen == 0 or n_new == 1):
        return None
    positions = torch.arange(n_seen + n_new)
    allowed = (positions <= positions[n_seen:, None])[None, None]
    if attention_mask is not None:
        allowed = allowed & attention_mask[:, None, None].bool()
    return allowed
