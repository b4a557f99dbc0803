"""An untrained Llama of about 60 million parameters with a vocabulary of 32 000."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SUITE_60M = "icl-vs-if:n=100,languages=en"
"""Natural English prompts, of which the benchmark takes some."""

N_TOKENS = 32_000


def save_random_llama(
    folder: Path,
    texts: Sequence[str],
    *,
    width: int = 512,
    dtype: str = "float32",
    n_context: int = 512,
) -> str:
    """Write the checkpoint into ``folder`` and return its spec.

    The tokenizer is trained on ``texts``; tokens without a text fill up its vocabulary, so that
    whatever the model says can be decoded.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from palimpsest.rosetta import train_tokenizer

    # Few tokens are learnt, so that words fall into pieces as they do in real vocabularies.
    tokenizer = train_tokenizer(texts, n_tokens=1000)
    tokenizer.add_tokens([f"<{index}>" for index in range(len(tokenizer), N_TOKENS)])
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=N_TOKENS,
        hidden_size=width,
        intermediate_size=width * 43 // 16,
        num_hidden_layers=8,
        num_attention_heads=8,
        max_position_embeddings=n_context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
    return str(folder)
