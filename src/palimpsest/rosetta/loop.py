"""Loop of Rosetta's training: a batch is a function of its step, so that resuming is exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from palimpsest.rosetta.corpus import Document
from palimpsest.training import load_state, make_optimisers, rate_scale, save_state, update


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


class DocumentBatch(NamedTuple):
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
) -> DocumentBatch:
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
    return DocumentBatch(ids, targets)


def batch_loss(model: LlamaForCausalLM, batch: DocumentBatch) -> Tensor:
    """Return the summed cross-entropy in nats over the tokens that count."""
    # Padding is on the right and attention is causal, so no mask is needed; and only the
    # positions that count are projected on the vocabulary.
    hidden = model.model(batch.ids[:, :-1], use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[batch.targets])
    return functional.cross_entropy(logits, batch.ids[:, 1:][batch.targets], reduction="sum")


def by_length(batch: DocumentBatch, *, n_parts: int = 4) -> list[DocumentBatch]:
    """Split a batch into parts of like length, so that little time is spent on padding."""
    lengths = batch.targets.size(1) - batch.targets.flip(1).int().argmax(1)
    parts = []
    for rows in lengths.argsort(stable=True).tensor_split(n_parts):
        if len(rows):
            width = int(lengths[rows].max())
            parts.append(DocumentBatch(batch.ids[rows, : width + 1], batch.targets[rows, :width]))
    return parts


class Trainer:
    """Trains a model through one stage, saving where it is.

    Args:
        model: Trained in place.
        draw: The batch of a step.
        stage: Steps, rates and seed.
        checkpoint: Where the state is saved; an earlier state of the same stage found there is
            taken up, and the end result is the same to the bit.
        save_every: Steps between saves.
    """

    def __init__(
        self,
        model: LlamaForCausalLM,
        draw: Callable[[int], DocumentBatch],
        stage: Stage,
        *,
        checkpoint: Path,
        save_every: int = 100,
    ) -> None:
        self.model = model
        self._draw = draw
        self._stage = stage
        self._checkpoint = checkpoint
        self._save_every = save_every
        self._optimisers = make_optimisers(
            model,
            "adamw" if stage.muon_learning_rate is None else "muon",
            learning_rate=stage.learning_rate,
            muon_learning_rate=stage.muon_learning_rate or 0.0,
            blocks=".layers.",
            fused=False,  # as when the embedded pair was trained
        )
        self._identity = {"stage": asdict(stage)}
        self.step = load_state(checkpoint, model, self._optimisers, identity=self._identity)

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
                    save_state(
                        self._checkpoint,
                        self.model,
                        self._optimisers,
                        step=self.step,
                        identity=self._identity,
                    )
        self.model.eval()

    def _update(self, batch: DocumentBatch, on_step: Callable[[int, float], None]) -> None:
        loss = self._accumulate(batch)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        scale = rate_scale(
            "trapezoid",
            self.step,
            n_steps=self._stage.n_steps,
            n_warmup_steps=self._stage.warmup_steps,
            decay_share=self._stage.decay_share,
        )
        for rated in self._optimisers:
            update(rated, scale)
        self.step += 1
        on_step(self.step, loss)

    def _accumulate(self, batch: DocumentBatch) -> float:
        """Add the gradient of the mean loss; return that loss."""
        n_tokens = int(batch.targets.sum())
        total = 0.0
        for part in by_length(batch):
            loss = batch_loss(self.model, part) / n_tokens
            loss.backward()
            total += loss.item()
        return total
