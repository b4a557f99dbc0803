"""Rosetta's training loop: a batch is a function of its step, so that resuming is exact."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from palimpsest.rosetta.corpus import Document


@dataclass(frozen=True)
class Stage:
    """One stage of training."""

    n_steps: int
    """Updates."""
    batch_size: int
    """Documents in a batch."""
    learning_rate: float
    """Peak rate of AdamW."""
    muon_learning_rate: float | None
    """Peak rate of Muon for the matrices inside the blocks; ``None`` leaves them to AdamW."""
    warmup_steps: int
    """Linear warm-up."""
    decay_share: float
    """Share of the steps, at the end, in which the rate falls linearly to zero."""
    loss_on: Literal["all", "completion"]
    """Whether the prompt's tokens count as well."""
    seed: int
    """Seed of the stage's batches."""


class Batch(NamedTuple):
    """Right-padded token ids with the positions that are to be predicted."""

    ids: Tensor
    """(documents, tokens), int64."""
    targets: Tensor
    """(documents, tokens − 1), bool: does the loss look at the token after this one?"""


def make_batch(
    documents: Sequence[Document],
    tokenizer: PreTrainedTokenizerFast,
    *,
    loss_on: Literal["all", "completion"],
) -> Batch:
    """Encode documents; each ends with the end token, which is predicted too."""
    texts = [document.prompt + document.completion for document in documents]
    rows = [[*row, tokenizer.eos_token_id] for row in tokenizer(texts)["input_ids"]]
    starts = [1] * len(rows)
    if loss_on == "completion":
        prompts = tokenizer([document.prompt for document in documents])["input_ids"]
        starts = [len(prompt) for prompt in prompts]
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), tokenizer.pad_token_id)
    targets = torch.zeros((len(rows), width - 1), dtype=torch.bool)
    for index, (row, start) in enumerate(zip(rows, starts, strict=True)):
        ids[index, : len(row)] = torch.tensor(row)
        targets[index, start - 1 : len(row) - 1] = True
    return Batch(ids, targets)


def batch_loss(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Return the summed cross-entropy in nats over the tokens that count."""
    # Padding is on the right and attention is causal, so no mask is needed; and only the
    # positions that count are projected on the vocabulary.
    hidden = model.model(batch.ids[:, :-1], use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[batch.targets])
    return functional.cross_entropy(logits, batch.ids[:, 1:][batch.targets], reduction="sum")


def by_length(batch: Batch, *, n_parts: int = 4) -> list[Batch]:
    """Split a batch into parts of like length, so that little time is spent on padding."""
    lengths = batch.targets.size(1) - batch.targets.flip(1).int().argmax(1)
    parts = []
    for rows in lengths.argsort(stable=True).tensor_split(n_parts):
        if len(rows):
            width = int(lengths[rows].max())
            parts.append(Batch(batch.ids[rows, : width + 1], batch.targets[rows, :width]))
    return parts


class Trainer:
    """Trains a model through one stage, saving where it is.

    Args:
        model: Trained in place.
        draw: The batch of a step.
        stage: Steps, rates and seed.
        folder: Where the state is saved; an earlier state of the same stage found there is
            taken up, and the end result is the same to the bit.
        save_every: Steps between saves.
    """

    def __init__(
        self,
        model: LlamaForCausalLM,
        draw: Callable[[int], Batch],
        stage: Stage,
        *,
        folder: Path,
        save_every: int = 100,
    ) -> None:
        self.model = model
        self.step = 0
        self._draw = draw
        self._stage = stage
        self._folder = folder
        self._save_every = save_every
        self._optimizers = _make_optimizers(model, stage)
        self._resume()

    def run(self, *, until: int, on_step: Callable[[int, float], None]) -> None:
        """Train up to step ``until``; ``on_step`` is given each step and its loss."""
        self.model.train()
        # The next batch is written and encoded while this one is computed.
        with ThreadPoolExecutor(max_workers=1) as ahead:
            coming = ahead.submit(self._draw, self.step)
            while self.step < until:
                batch = coming.result()
                coming = ahead.submit(self._draw, self.step + 1)
                self._update(batch, on_step)
                if self.step % self._save_every == 0 or self.step == until:
                    self._save()
        self.model.eval()

    def _update(self, batch: Batch, on_step: Callable[[int, float], None]) -> None:
        scale = rate_scale(self.step, self._stage)
        loss = self._accumulate(batch)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, peak in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = peak * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        on_step(self.step, loss)

    def _accumulate(self, batch: Batch) -> float:
        """Add the gradient of the mean loss; return that loss."""
        n_tokens = int(batch.targets.sum())
        total = 0.0
        for part in by_length(batch):
            loss = batch_loss(self.model, part) / n_tokens
            loss.backward()
            total += loss.item()
        return total

    def _save(self) -> None:
        fresh, current = self._folder.with_suffix(".new"), self._folder
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        save_file(_contiguous(self.model.state_dict()), fresh / "model.safetensors")
        for index, (optimizer, _) in enumerate(self._optimizers):
            save_file(_flatten(optimizer), fresh / f"optimizer-{index}.safetensors")
        (fresh / "state.json").write_text(json.dumps({"step": self.step}), "utf-8")
        # Killed between these two, the folder is missing and `.new` is complete: see _resume.
        shutil.rmtree(current, ignore_errors=True)
        fresh.rename(current)

    def _resume(self) -> None:
        fresh = self._folder.with_suffix(".new")
        if not self._folder.exists() and (fresh / "state.json").exists():
            fresh.rename(self._folder)
        if not (self._folder / "state.json").exists():
            return
        self.step = json.loads((self._folder / "state.json").read_text("utf-8"))["step"]
        self.model.load_state_dict(load_file(self._folder / "model.safetensors"), strict=False)
        self.model.tie_weights()
        for index, (optimizer, _) in enumerate(self._optimizers):
            _unflatten(optimizer, load_file(self._folder / f"optimizer-{index}.safetensors"))


def rate_scale(step: int, stage: Stage) -> float:
    """Return the share of the peak rate at a step: up, level, then down to zero."""
    decay_steps = stage.decay_share * stage.n_steps
    up = (step + 1) / max(1, stage.warmup_steps)
    down = (stage.n_steps - step) / decay_steps if decay_steps else math.inf
    return min(1.0, up, down)


def _make_optimizers(
    model: LlamaForCausalLM, stage: Stage
) -> list[tuple[torch.optim.Optimizer, float]]:
    # In the model's own order, which a saved state refers to by position.
    inner = [p for n, p in model.named_parameters() if p.ndim == 2 and ".layers." in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or ".layers." not in n]
    if stage.muon_learning_rate is None:
        return [(_adamw(inner + others, stage.learning_rate), stage.learning_rate)]
    muon = torch.optim.Muon(inner, lr=stage.muon_learning_rate, weight_decay=0.0)
    return [
        (muon, stage.muon_learning_rate),
        (_adamw(others, stage.learning_rate), stage.learning_rate),
    ]


def _adamw(parameters: Sequence[Tensor], learning_rate: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0)


def _flatten(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": torch.as_tensor(value).clone().contiguous()
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def _unflatten(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # The head is tied to the embedding; safetensors refuses to write shared memory twice.
    return {n: t.detach().contiguous() for n, t in state.items() if n != "lm_head.weight"}
