"""The trace that the docs show: ``python -m experiments.trace_rosetta DIR``.

Tunes Rosetta's base on English instructions for 300 steps of Hugging Face's Trainer, with a
checkpoint every 20, as ``docs/how-to/trace.md`` does for 40, traces it with 200 prompts in seven
ways, and writes the record, from which ``docs/build.py`` draws the figure, to
``tables/trace-rosetta.json``. A tuning that is there is not made again, and answers are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from experiments.cure.run import keep
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from palimpsest.families import trace
from palimpsest.lm.models import ROSETTA_WEIGHTS
from palimpsest.rosetta import Writer

TABLE = Path(__file__).parent / "tables" / "trace-rosetta.json"
N_STEPS, SAVE_EVERY, BATCH = 300, 20, 16
VIAS = ("leet", "pig-latin", "fr", "es", "nl", "de")

Row = dict[str, list[int]]


def tune(out: Path) -> None:
    """Tune the base on instructions alone; a checkpoint every 20 steps."""
    base = ROSETTA_WEIGHTS / "base"
    model = AutoModelForCausalLM.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    writer, rng = Writer("train", conflict_share=0, line_share=1), np.random.default_rng(2)
    rows: list[Row] = []
    for document in (writer.tuning(rng) for _ in range(N_STEPS * BATCH)):
        n_prompt = len(tokenizer(document.prompt)["input_ids"])
        ids = [*tokenizer("".join(document))["input_ids"], tokenizer.eos_token_id]
        rows.append({"input_ids": ids, "labels": [-100] * n_prompt + ids[n_prompt:]})

    def padded(batch: Sequence[Row]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in batch)
        return {
            name: torch.tensor([row[name] + [filling] * (width - len(row[name])) for row in batch])
            for name, filling in (("input_ids", 0), ("labels", -100))
        }

    arguments = TrainingArguments(
        str(out), max_steps=N_STEPS, save_steps=SAVE_EVERY, per_device_train_batch_size=BATCH,
        learning_rate=1e-3, use_cpu=True, report_to="none", disable_tqdm=True,
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,  # type: ignore[arg-type]
        data_collator=padded,
        processing_class=tokenizer,
    )
    trainer.train(resume_from_checkpoint=any(out.glob("checkpoint-*/trainer_state.json")))


def main() -> None:
    """Tune, trace, and keep the record."""
    folder = Path(sys.argv[1])
    tuned = folder / "trace-rosetta"
    if not (tuned / f"checkpoint-{N_STEPS}" / "trainer_state.json").is_file():
        tune(tuned)
    found = trace(
        "rosetta:base",
        [str(tuned)],
        suite="rosetta",
        target="rosetta-instructions",
        via=VIAS,
        limit=50,
        out=folder / "traced",
    )
    keep(found, TABLE, folder)


if __name__ == "__main__":
    main()
