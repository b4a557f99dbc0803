"""Tuning of the real models: ``python -m experiments.real.tune CONFIG --seed N --models DIR``.

Checkpoints stand in ``DIR/runs/CONFIG-seedN/checkpoint-STEP``; a run that was interrupted goes on
at its last one. A step's loss is taken over the answers alone, and logits are computed nowhere
else: of 262,144 words, at every position, they would take longer than the rest of the network.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from palimpsest.files import read_toml

DATA = {"instructions": "instructions_en.json", "code": "code_en.json"}
"""Files of the folder of tuning data."""

N_HELD_OUT = 100
"""Rows that no model is tuned on: the target of a cure."""

LONGEST = 110
"""Rows of more tokens than this, prompt and answer together, are left out."""

_IGNORED = -100


@dataclass(frozen=True)
class Tuning:
    """What is tuned, on what, and how."""

    model: str
    """A folder below ``DIR/models``."""

    method: Literal["full", "lora"]
    data: str
    seeds: Sequence[int]
    """Of the order of the rows and of whatever is drawn; each is a run."""

    save_at: Sequence[int]
    """Steps after which a checkpoint is kept; the last ends the run."""

    learning_rate: float
    """Of AdamW, after ten steps of warming up; constant."""

    batch_size: int = 8


class Row(dict[str, list[int]]):
    """``input_ids`` and ``labels`` of one prompt with its answer."""


def rows_of(path: Path, tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    """Return the rows that are short enough, in the order of the file.

    The prompt is the instruction, its input on a line of its own, and a line break; an end token
    follows the answer.
    """
    rows = []
    for each in json.loads(path.read_bytes()):
        prompt = prompt_of(each)
        before = list(tokenizer(prompt)["input_ids"])
        after = list(tokenizer(each["output"], add_special_tokens=False)["input_ids"])
        after.append(tokenizer.eos_token_id)
        if len(before) + len(after) <= LONGEST:
            rows.append(Row(input_ids=before + after, labels=[_IGNORED] * len(before) + after))
    return rows


def prompt_of(row: Mapping[str, str]) -> str:
    """Return what precedes the answer of an instruction."""
    return "\n".join(filter(None, (row["instruction"], row.get("input", "")))) + "\n"


def split(rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Divide rows into those to tune on and the held-out ones, by a draw of its own."""
    order = list(range(len(rows)))
    random.Random(0).shuffle(order)
    held = set(order[:N_HELD_OUT])
    return (
        [row for index, row in enumerate(rows) if index not in held],
        [row for index, row in enumerate(rows) if index in held],
    )


def padded(rows: Sequence[Row], padding: int) -> dict[str, torch.Tensor]:
    """Put rows side by side, filled up on the right."""
    widest = max(len(row["input_ids"]) for row in rows)

    def filled(name: str, value: int) -> torch.Tensor:
        return torch.tensor([row[name] + [value] * (widest - len(row[name])) for row in rows])

    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    return {
        "input_ids": filled("input_ids", padding),
        "labels": filled("labels", _IGNORED),
        "attention_mask": (torch.arange(widest) < lengths[:, None]).long(),
    }


class AnswerTrainer(Trainer):
    """A Trainer whose loss is the mean over the tokens of the answers."""

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the cross-entropy of the answers' tokens, in nats a token."""
        whole = self.accelerator.unwrap_model(model)
        whole = whole.get_base_model() if hasattr(whole, "get_base_model") else whole
        states = whole.model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        ).last_hidden_state[:, :-1]
        labels = inputs["labels"][:, 1:]
        counted = labels != _IGNORED
        logits = whole.lm_head(states[counted]).float()
        loss = torch.nn.functional.cross_entropy(logits, labels[counted])
        return (loss, {}) if return_outputs else loss


class SaveAt(TrainerCallback):
    """Keeps a checkpoint after each of some steps, and an optimiser's state only of the newest."""

    def __init__(self, steps: Sequence[int]) -> None:
        self._steps = set(steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Ask for a checkpoint."""
        control.should_save = state.global_step in self._steps
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Delete the states that no run will go on from."""
        for path in Path(args.output_dir).glob("checkpoint-*/optimizer.pt"):
            if path.parent.name != f"checkpoint-{state.global_step}":
                path.unlink()


def trainable(tuning: Tuning, folder: Path) -> Any:
    """Return the model with the weights that are tuned set free, and no others."""
    network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if tuning.method == "full":
        network.get_input_embeddings().weight.requires_grad_(False)
        return network
    from peft import LoraConfig, get_peft_model

    network.name_or_path = str(folder)
    return get_peft_model(
        network,
        LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def tune(tuning: Tuning, *, name: str, seed: int, models: Path, data: Path) -> Path:
    """Tune one model, from its last checkpoint if there is one; return the run's folder."""
    folder = models / "models" / tuning.model
    out = models / "runs" / f"{name}-seed{seed}"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows, _ = split(rows_of(data / DATA[tuning.data], tokenizer))
    torch.manual_seed(seed)  # of LoRA's first values
    arguments = TrainingArguments(
        output_dir=str(out),
        max_steps=max(tuning.save_at),
        per_device_train_batch_size=tuning.batch_size,
        learning_rate=tuning.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=10,
        seed=seed,
        data_seed=seed,
        save_strategy="no",
        logging_steps=5,
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        bf16=True,  # matrix products alone; the weights that are stepped stay float32
        remove_unused_columns=False,
        train_sampling_strategy="group_by_length",
        disable_tqdm=True,
    )
    trainer = AnswerTrainer(
        trainable(tuning, folder),
        arguments,
        train_dataset=rows,
        data_collator=lambda batch: padded(batch, tokenizer.pad_token_id),
        processing_class=tokenizer,
        callbacks=[SaveAt(tuning.save_at)],
    )
    out.mkdir(parents=True, exist_ok=True)
    facts = {**asdict(tuning), "seed": seed, "n_rows": len(rows)}
    (out / "tuning.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    found = any(out.glob("checkpoint-*/optimizer.pt"))
    trainer.train(resume_from_checkpoint=found)
    (out / "log.json").write_text(json.dumps(trainer.state.log_history), encoding="utf-8")
    return out


def main() -> None:
    """Tune the seeds of one configuration, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tuning"))
    parser.add_argument("--seed", type=int, action="append", help="By default all of them.")
    parser.add_argument("--until", type=int, help="Stop at this checkpoint for now.")
    given = parser.parse_args()
    facts: Any = read_toml(given.config)
    tuning = Tuning(**facts)
    if given.until:
        earlier = [step for step in tuning.save_at if step <= given.until]
        tuning = replace(tuning, save_at=earlier)
    for seed in given.seed or tuning.seeds:
        run = given.models / "runs" / f"{given.config.stem}-seed{seed}"
        if not (run / f"checkpoint-{max(tuning.save_at)}" / "trainer_state.json").is_file():
            tune(tuning, name=given.config.stem, seed=seed, models=given.models, data=given.data)


if __name__ == "__main__":
    main()
