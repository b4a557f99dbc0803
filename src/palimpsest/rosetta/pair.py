"""Training of a whole pair by its recipe, from nothing to a measured pair.

Everything lands in a work folder, step by step; a call that was interrupted, even by ``kill -9``,
continues where it stopped and ends with the same weights.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from palimpsest.files import write_whole
from palimpsest.lm.models.huggingface import quietly
from palimpsest.records import AnswerStore, platform_facts, versions
from palimpsest.rosetta.manifest import MANIFEST, CurvePoint, Manifest, checksums, measure
from palimpsest.rosetta.recipe import (
    Recipe,
    Report,
    choose_checkpoint,
    make_tokenizer,
    prepare_folder,
    pretrain,
    tune,
)


def train_pair(
    recipe: Recipe,
    folder: Path,
    *,
    command: str,
    report: Report,
    measuring: Callable[[str], None],
    n: int = 100,
    n_curve: int = 25,
) -> Manifest:
    """Train and measure a pair; ``folder/pair`` ends up with both models and the manifest.

    Args:
        recipe: Everything that determines the weights.
        folder: The work folder; continued if an earlier call was interrupted.
        command: Recorded in the manifest.
        report: Told of every training step.
        measuring: Told what is measured next.
        n: Prompts a cell and language for the pair's own table.
        n_curve: The same for each checkpoint on the curve.

    Raises:
        UserError: The folder holds something else.
    """
    prepare_folder(recipe, folder)
    tokenizer = make_tokenizer(recipe, folder)
    clock = _Clock(folder / "seconds.json")
    model = pretrain(recipe, tokenizer, folder, clock.timed(report))
    losses = _tune_and_keep(recipe, model, tokenizer, folder, clock.timed(report))
    chosen = choose_checkpoint(recipe, losses)
    pair = folder / "pair"
    for name, step in (("base", 0), ("tuned", chosen)):
        shutil.rmtree(pair / name, ignore_errors=True)
        shutil.copytree(_checkpoint(folder, step), pair / name)
    with AnswerStore(folder / "answers.sqlite") as store:
        curve = []
        for step, loss in losses:
            measuring(f"tuning step {step}")
            table = measure(_checkpoint(folder, step), store, n=n_curve, split="report")
            curve.append(CurvePoint(step=step, held_out_loss=loss, table=table))
        measuring("base and tuned")
        tables = {
            name: measure(pair / name, store, n=n, split="report") for name in ("base", "tuned")
        }
    manifest = Manifest(
        command=command,
        recipe=asdict(recipe),
        rule=rule(recipe),
        chosen_step=chosen,
        versions=versions(),
        platform=platform_facts(),
        training_seconds=round(clock.seconds, 1),
        sha256=checksums(pair),
        base=tables["base"],
        tuned=tables["tuned"],
        curve=curve,
    )
    (pair / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", "utf-8")
    return manifest


def rule(recipe: Recipe) -> str:
    """Return the rule for the tuning strength in words."""
    return (
        "The first checkpoint at which the loss on held-out English instructions (select split) "
        f"has done all but {recipe.levelled_off:.0%} of the fall that the whole stage achieves."
    )


def _tune_and_keep(
    recipe: Recipe,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    report: Report,
) -> list[tuple[int, float]]:
    """Tune to the end of the stage, keeping every checkpoint; return their held-out losses."""
    path = folder / "losses.json"
    losses = dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}
    for step, loss in tune(recipe, model, tokenizer, folder, report):
        losses[step] = loss
        _save_checkpoint(model, tokenizer, _checkpoint(folder, step))
        write_whole(path, json.dumps(sorted(losses.items())).encode())
    return sorted(losses.items())


def _save_checkpoint(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, target: Path
) -> None:
    fresh = target.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    with quietly():
        model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def _checkpoint(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step-{step:05d}"


class _Clock:
    """Adds up the time between training steps, over interruptions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: float = json.loads(path.read_text("utf-8")) if path.exists() else 0.0

    def timed(self, report: Report) -> Report:
        """Return ``report`` that also takes the time of every step."""
        last = time.monotonic()

        def timed_report(stage: str, step: int, n_steps: int, loss: float) -> None:
            nonlocal last
            now = time.monotonic()
            self.seconds += now - last
            last = now
            self._path.write_text(json.dumps(self.seconds), "utf-8")
            report(stage, step, n_steps, loss)

        return timed_report
