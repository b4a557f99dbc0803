"""Small pairs of checkpoints, of which the second is the first with some change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from tests.lm.models.checkpoints import byte_level_tokenizer, random_network

from palimpsest.lm.models.huggingface import quietly

PROMPTS = ["Repeat the input.\n\nInput: The cat", "What is 5?", "Wat is vijf plus zeven?"]
CANDIDATES = [[" sleeps", " sits"], [" 5", " 12"], [" Twaalf.", " 3"]]


def save_pair(
    folder: Path,
    architecture: str = "llama",
    *,
    dtype: torch.dtype = torch.float32,
    change: float = 0.05,
    shard: str = "50GB",
    **changes: Any,
) -> tuple[Path, Path]:
    """Write a base and a tuned model into ``folder``; the change is of low rank and noise."""
    network = random_network(architecture, **changes).to(dtype)
    generator = torch.Generator().manual_seed(1)
    folders = folder / "base", folder / "tuned"
    for role in folders:
        byte_level_tokenizer().save_pretrained(role)
        with quietly():
            network.save_pretrained(role, max_shard_size=shard)
        with torch.no_grad():
            for parameter in network.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                if parameter.ndim == 2:
                    rows, columns = (torch.randn(n, 3, generator=generator) for n in noise.shape)
                    noise += 3 * rows @ columns.T
                parameter.add_((change * noise * parameter.std().nan_to_num(1.0)).to(dtype))
    return folders


def save_adapted(
    folder: Path, architecture: str = "llama", *, network: Any = None, **options: Any
) -> tuple[Path, Path]:
    """Write a base, and a random LoRA adapter of it."""
    base = folder / "base"
    network = random_network(architecture) if network is None else network
    byte_level_tokenizer().save_pretrained(base)
    network.save_pretrained(base)
    targets = ["c_attn", "c_proj"] if architecture == "gpt2" else ["q_proj", "down_proj"]
    config = {"target_modules": targets, "r": 4, "lora_alpha": 8, **options}
    with quietly():
        network.name_or_path = str(base)
        adapted: Any = get_peft_model(network, LoraConfig(task_type=TaskType.CAUSAL_LM, **config))
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_" in name or "modules_to_save" in name:
                    parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        adapted.save_pretrained(str(folder / "adapter"))
    return base, folder / "adapter"


def asked(model: Any) -> tuple[list[str], list[list[float]]]:
    """Return what a model says, and how likely it finds some words."""
    texts = [each.text for _, each in sorted(model.generate(PROMPTS, max_new_tokens=8))]
    return texts, model.score(PROMPTS, CANDIDATES)
