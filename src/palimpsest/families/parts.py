"""Parts of a network, told by the names of its tensors: which layer, and which kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

KINDS = ("attention", "mlp", "norms", "embeddings")
"""Kinds of tensors that have a name here; whatever is none of them belongs to no kind."""

_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block)\.(\d+)\.")
_WORDS: Mapping[str, re.Pattern[str]] = {
    # First, as norms of attention are called after it: post_attention_layernorm, q_norm.
    "norms": re.compile(r"norm|(?:^|\.)ln_|\.ln\d?\."),
    "embeddings": re.compile(r"embed|(?:^|\.)(?:wte|wpe|lm_head|word_embeddings)(?:\.|$)"),
    "attention": re.compile(r"attn|attention|(?:^|\.)(?:q|k|v|o|qkv|out)_proj\."),
    "mlp": re.compile(r"mlp|feed_?forward|ffn|experts|(?:^|\.)(?:gate|up|down)_proj\.|\.fc\d?\."),
}
_HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output_projection)\.")
_INPUT = re.compile(
    r"(?:^|\.)(?:embed_tokens|embed_in|wte|word_embeddings|tok_embeddings|embeddings)\.(?:weight$|lora_)"
)
_N_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


def kind_of(name: str) -> str | None:
    """Return the kind of a tensor, or ``None`` if it is none of :data:`KINDS`.

    Example:
        >>> kind_of("model.layers.3.self_attn.q_proj.weight")
        'attention'
        >>> kind_of("model.layers.3.post_attention_layernorm.weight")
        'norms'
        >>> kind_of("backbone.layers.0.mixer.conv1d.weight")
    """
    return next((kind for kind, word in _WORDS.items() if word.search(name)), None)


def layer_of(name: str) -> int | None:
    """Return the number of the layer that a tensor belongs to, from 0.

    Example:
        >>> layer_of("model.layers.3.self_attn.q_proj.weight"), layer_of("lm_head.weight")
        (3, None)
    """
    match = _LAYER.search(name)
    return int(match[1]) if match else None


def n_layers(config: Mapping[str, Any]) -> int | None:
    """Return how many layers a configuration states.

    Example:
        >>> n_layers({"text_config": {"num_hidden_layers": 4}})
        4
    """
    inner = config.get("text_config")
    for facts in (config, inner if isinstance(inner, Mapping) else {}):
        for name in _N_LAYERS:
            if isinstance(facts.get(name), int):
                return int(facts[name])
    return None


def is_head(name: str) -> bool:
    """Return whether a tensor turns the last states into logits.

    Example:
        >>> is_head("lm_head.weight")
        True
    """
    return _HEAD.search(name) is not None


def is_input_embedding(name: str) -> bool:
    """Return whether a tensor has the vectors of the tokens that are read.

    Example:
        >>> is_input_embedding("model.embed_tokens.weight"), is_input_embedding("lm_head.weight")
        (True, False)
    """
    return _INPUT.search(name) is not None
