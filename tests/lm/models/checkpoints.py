"""Tiny random checkpoints of several architectures, with tokenizers trained on a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

LINES = [
    "Repeat the input.\n\nInput: The cat sleeps.\nOutput: The cat sleeps.\n\nInput: What is 5?",
    "Répète l'entrée : où est le garçon naïf ?\nSortie : là-bas, près de l'église.",
    "Wat is vijf plus zeven? Twaalf. Das Mädchen läuft schön über die Straße.",
    "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 😀 שלום العربية 日本語",
]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
_COMMON = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
_SIZE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {**_SIZE, "num_key_value_heads": 2}),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
    "gpt_neox": ("gpt_neox", _SIZE),
    "mistral": ("mistral", {**_SIZE, "num_key_value_heads": 2, "sliding_window": 16}),
    "bloom": (
        "bloom",
        {"hidden_size": 32, "n_layer": 2, "n_head": 4, "tie_word_embeddings": False},
    ),
    "mamba": ("mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    "gemma3": (
        "gemma3_text",
        {**_SIZE, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16,
         "layer_types": ["sliding_attention", "full_attention"]},
    ),
}  # fmt: skip


MIXTURE_OF_EXPERTS: tuple[str, dict[str, Any]] = (
    "mixtral", {**_SIZE, "num_key_value_heads": 2, "num_local_experts": 4}
)  # fmt: skip
"""Its experts lie in files one by one, and in the network as one tensor."""


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE that puts a start token first, like Llama 3."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return _wrapped(tokenizer)


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """A BPE with byte fallback and `▁` for spaces, like Llama 2."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return _wrapped(tokenizer)


def _wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def random_network(architecture: str = "llama", *, seed: int = 0, **changes: Any) -> Any:
    """Return an untrained network whose answers nevertheless vary."""
    kind, options = {**ARCHITECTURES, "mixtral": MIXTURE_OF_EXPERTS}[architecture]
    config = CONFIG_MAPPING[kind](**{**_COMMON, **options, **changes})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():  # freshly initialised logits are nearly equal: spread them
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(4.0)
    return model


def save_model(folder: Path, architecture: str = "llama", *, seed: int = 0, **changes: Any) -> Path:
    """Write a random checkpoint without a tokenizer."""
    random_network(architecture, seed=seed, **changes).save_pretrained(folder)
    return folder


def save_checkpoint(folder: Path, architecture: str = "llama", **changes: Any) -> Path:
    """Write a random checkpoint with a byte-level tokenizer."""
    byte_level_tokenizer().save_pretrained(folder)
    return save_model(folder, architecture, **changes)
