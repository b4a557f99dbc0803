"""Fine-tune a model on English instructions, and watch what it forgets and what is only hidden.

The model is Rosetta's base, which comes with the package: it repeats and capitalises what it is
shown. The instructions never ask for that, and it stops doing it when it is asked in English.

    python examples/finetune_with_callback.py                         # minutes on one core
    python examples/finetune_with_callback.py --steps 40 --limit 5    # seconds
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from palimpsest.integrations.trainer import ForgettingCallback, Measurement, read_measurements
from palimpsest.lm.models import ROSETTA_WEIGHTS
from palimpsest.rosetta import Writer

BATCH_SIZE = 32
VIA = ("leet", "pig-latin", "fr")

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=600)
parser.add_argument("--every", type=int, default=20, help="steps between measurements")
parser.add_argument("--limit", type=int, default=100, help="examples of each of four kinds")
parser.add_argument("--stop-at-forgetting", type=float, help="such as 0.2 for 20 points")
parser.add_argument("--out", type=Path, default=Path("finetuned"))


def instructions(tokenizer: PreTrainedTokenizerBase, n: int) -> list[dict[str, list[int]]]:
    """Return encoded instructions; only their answers count in the loss."""
    writer = Writer("train", conflict_share=0.0, line_share=1.0)
    rng = np.random.default_rng(2)
    rows = []
    for document in (writer.tuning(rng) for _ in range(n)):
        prompt = tokenizer(document.prompt)["input_ids"]
        ids = [*tokenizer("".join(document))["input_ids"], tokenizer.eos_token_id]
        rows.append({"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt) :]})
    return rows


def padded(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Return a batch; padding is on the right, where a causal model does not see it."""
    width = max(len(row["input_ids"]) for row in rows)
    return {
        name: torch.tensor([row[name] + [filling] * (width - len(row[name])) for row in rows])
        for name, filling in (("input_ids", 0), ("labels", -100))
    }


def plot(rows: list[Measurement], path: Path) -> None:
    """Draw the accuracy over the steps, plain and under each conjugation, with 95 % intervals."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    steps = [row.step for row in rows]
    curves = {"plain": [row.plain.tuned for row in rows]}
    for number, found in enumerate(rows[0].conjugations):
        curves[found.name] = [row.conjugations[number].tuned for row in rows]
    for name, arms in curves.items():
        colour, width = ("black", 2.0) if name == "plain" else (None, 1.2)
        values = [100 * arm.accuracy for arm in arms]
        (line,) = axes.plot(steps, values, color=colour, linewidth=width, marker=".", label=name)
        low, high = (100 * np.array([arm.ci95 for arm in arms])).T
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xlabel="fine-tuning steps", ylabel="right answers, %", ylim=(0, 102))
    axes.set_title("The same tasks, asked plainly and under conjugations", loc="left")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="asked", frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Train, then print and draw what was measured."""
    options = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(ROSETTA_WEIGHTS / "base")
    tokenizer = AutoTokenizer.from_pretrained(ROSETTA_WEIGHTS / "base")
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(options.out),
            max_steps=options.steps,
            per_device_train_batch_size=BATCH_SIZE,
            learning_rate=1e-3,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=10,
            adam_beta2=0.98,
            logging_steps=options.every,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=instructions(tokenizer, options.steps * BATCH_SIZE),
        data_collator=padded,
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(
        ForgettingCallback(
            trainer,
            "rosetta:languages=en+fr",
            via=VIA,
            every=options.every,
            limit=options.limit,
            stop_at_forgetting=options.stop_at_forgetting,
            max_share=None,  # steps of a model so small take hardly longer than a question
        )
    )
    trainer.train()
    rows = read_measurements(options.out / "forgetting")
    for row in rows:
        print(f"step {row.step}: {row.verdict}. {row.verdict_reason}")
    plot(rows, options.out / "forgetting.png")
    print(f"drawn in {options.out / 'forgetting.png'}")


if __name__ == "__main__":
    main()
