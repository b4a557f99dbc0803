"""Faster forms of small networks on the CPU: a fused Llama, and a part of the batch for each core.

At a few million parameters, most of the time of a Llama goes into passes over memory between the
matrix products. In its fused form the norms' weights are folded into the products, products of one
input are one, the last block computes only the positions whose logits are asked for, and the two
numbers that rotary positions turn together lie next to each other, so that turning them is one
complex product.

The operations of such a network take microseconds. Divided among cores, they spend their time
waiting for one another, most of all when the machine has other work; parts of a batch never wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from palimpsest.lm.models.huggingface.decoding import Decoder
from palimpsest.lm.models.huggingface.memory import reserved_cache, without_gaps

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOLERANCE = 1e-4
"""Relative to the largest logit: float32 sums in another order stay well below it."""


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
        self._blocks = [_block(layer, self._head_width) for layer in model.model.layers]

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


def _block(layer: Any, head_width: int) -> Block:
    attention, mlp = layer.self_attn, layer.mlp
    before, between = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
    queries = _interleaved(attention.q_proj.weight, head_width)
    keys = _interleaved(attention.k_proj.weight, head_width)
    return Block(
        query_key_value=torch.cat([queries, keys, attention.v_proj.weight]) * before,
        output=attention.o_proj.weight.t().contiguous(),
        gate_up=torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) * between,
        down=mlp.down_proj.weight.t().contiguous(),
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


def one_core_threads(n: int) -> ThreadPoolExecutor:
    """Return ``n`` workers that compute on one core each."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(n, "palimpsest", _use_one_core)
    list(pool.map(lambda _: None, range(n)))
    torch.set_num_threads(before)
    return pool


def _use_one_core() -> None:
    # A thread takes over the common setting when it first asks for it, and has its own
    # afterwards; in this order, and with the caller's set again, only the worker's changes.
    torch.get_num_threads()
    torch.set_num_threads(1)


class DividedDecoder:
    """A decoder whose rows are dealt out to several, which run at the same time.

    Args:
        threads: The workers.
        n_parts: How many decoders there are at most.
        prompts: Token ids, none empty, the longest first.
        new: Makes the decoder of a part.
    """

    def __init__(
        self,
        threads: ThreadPoolExecutor,
        n_parts: int,
        prompts: Sequence[Sequence[int]],
        new: Callable[[Sequence[Sequence[int]]], Decoder],
    ) -> None:
        # All tensors are handled by the workers: after an operation on several cores, the
        # threads of OpenMP keep those cores busy with waiting for the next one.
        self._threads = threads
        n_parts = min(n_parts, len(prompts))
        # Dealt like cards, so that each part has as many long prompts as the others.
        self._rows = [list(range(len(prompts)))[part::n_parts] for part in range(n_parts)]
        self._parts = list(threads.map(new, [prompts[part::n_parts] for part in range(n_parts)]))

    def start(self) -> list[int]:
        """Read the prompts and return the first new token of each."""
        return self._gathered(self._threads.map(lambda part: part.start(), self._parts))

    def feed(self, tokens: Sequence[int]) -> list[int]:
        """Append one token to each row and return the next ones."""
        dealt = [[tokens[row] for row in rows] for rows in self._rows]
        work = list(zip(self._parts, dealt, strict=True))
        return self._gathered(self._threads.map(lambda item: item[0].feed(item[1]), work))

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows; parts that are left with none end."""
        places = {row: place for place, row in enumerate(rows)}
        orders = [
            without_gaps(len(own), [line for line, row in enumerate(own) if row in places])
            for own in self._rows
        ]
        left = [work for work in zip(self._parts, self._rows, orders, strict=True) if work[2]]
        list(self._threads.map(lambda work: work[0].keep(work[2]), left))
        self._parts = [part for part, _, _ in left]
        self._rows = [[places[own[line]] for line in order] for _, own, order in left]

    def _gathered(self, results: Iterable[Sequence[int]]) -> list[int]:
        tokens = [0] * sum(map(len, self._rows))
        for rows, found in zip(self._rows, results, strict=True):
            for row, token in zip(rows, found, strict=True):
                tokens[row] = token
        return tokens
