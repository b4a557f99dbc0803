"""Short fine-tunings of Rosetta's base on English instructions, with the real Trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from palimpsest.lm.models import ROSETTA_WEIGHTS
from palimpsest.rosetta.corpus import Document, Writer

SUITE = "rosetta:languages=en"
Change = Callable[[Any], Any]


def documents(n: int = 64) -> list[Document]:
    writer = Writer("train", conflict_share=0.0, line_share=1.0)
    rng = np.random.default_rng(0)
    return [writer.tuning(rng) for _ in range(n)]


def tokenizer() -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(ROSETTA_WEIGHTS / "base")
    return loaded


def network(name: str = "base") -> Any:
    """A Rosetta model with dropout, which draws random numbers at every step of training."""
    return AutoModelForCausalLM.from_pretrained(
        ROSETTA_WEIGHTS / name, dtype=torch.float32, attention_dropout=0.1
    )


def arguments(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 2,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "seed": 3,
        **changes,
    }


def new_trainer(
    folder: Path,
    *,
    name: str = "base",
    change: Change = lambda n: n,
    n_documents: int = 64,
    **changes: Any,
) -> Trainer:
    """Return a Trainer; ``change`` may wrap the network, ``changes`` are its arguments."""
    torch.manual_seed(0)  # an adapter starts from random numbers
    words = tokenizer()
    return Trainer(
        model=change(network(name)),
        args=TrainingArguments(**arguments(folder, **changes)),
        train_dataset=[_encoded(words, document) for document in documents(n_documents)],
        data_collator=lambda rows: _padded(words, rows),
        processing_class=words,
    )


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    model = trainer.accelerator.unwrap_model(trainer.model)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_to_the_bit(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert different == []


def _encoded(words: PreTrainedTokenizerBase, document: Document) -> dict[str, list[int]]:
    prompt = words(document.prompt)["input_ids"]
    whole = [*words(document.prompt + document.completion)["input_ids"], words.eos_token_id]
    return {"input_ids": whole, "labels": [-100] * len(prompt) + whole[len(prompt) :]}


def _padded(
    words: PreTrainedTokenizerBase, rows: Sequence[dict[str, list[int]]]
) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, filling: int) -> torch.Tensor:
        return torch.tensor([row[name] + [filling] * (width - len(row[name])) for row in rows])

    ids = padded("input_ids", words.pad_token_id)
    return {
        "input_ids": ids,
        "labels": padded("labels", -100),
        "attention_mask": (ids != words.pad_token_id).long(),
    }
