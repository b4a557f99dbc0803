"""Log-likelihoods of candidate continuations, with the part that they share read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from palimpsest.lm.models.batching import BatchBudget, free_memory, is_out_of_memory
from palimpsest.lm.models.decoders import accepted_arguments
from palimpsest.lm.models.tokenization import PromptEncoder
from palimpsest.lm.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Pair:
    """A context with one continuation, as token ids."""

    prompt: int
    """Which prompt."""

    candidate: int
    """Which of its candidates."""

    context: tuple[int, ...]
    """Never empty."""

    continuation: tuple[int, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        """Both parts."""
        return self.context + self.continuation


def score_candidates(
    model: PreTrainedModel,
    encoder: PromptEncoder,
    prompts: Sequence[Prompt],
    candidates: Sequence[Sequence[str]],
    *,
    n_context: int | None,
    budget: BatchBudget,
) -> list[list[float]]:
    """Return the natural-log probability of every candidate after its prompt."""
    scores = [[0.0] * len(texts) for texts in candidates]
    pairs = encode_pairs(encoder, prompts, candidates)
    fitting = []
    for pair in pairs:
        if n_context is not None and len(pair.tokens) > n_context:
            scores[pair.prompt][pair.candidate] = -torch.inf
        elif pair.continuation:
            fitting.append(pair)
    fitting.sort(key=lambda pair: len(pair.tokens), reverse=True)
    while fitting:
        batch = fitting[: budget.rows(len(fitting[0].tokens))]
        try:
            values = _score_batch(model, batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            error.__traceback__ = None
            free_memory(model.device)
            budget.halve(len(batch), error)
            continue
        for pair, value in zip(batch, values, strict=True):
            scores[pair.prompt][pair.candidate] = value
        fitting = fitting[len(batch) :]
    return scores


def encode_pairs(
    encoder: PromptEncoder, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
) -> list[Pair]:
    """Encode every prompt with each of its candidates, divided where the prompt's tokens end.

    Spaces at the end of a prompt go to the continuation, since tokenizers join them to the next
    word (the convention of lm-evaluation-harness).
    """
    keys, contexts, wholes = [], [], []
    for row, (prompt, texts) in enumerate(zip(prompts, candidates, strict=True)):
        text, templated = encoder.text(prompt)
        context = text.rstrip()
        for column, candidate in enumerate(texts):
            keys.append((row, column))
            contexts.append((context, templated))
            wholes.append((text + candidate, templated))
    return [
        _split(key, context, whole)
        for key, context, whole in zip(
            keys, encoder.encode_texts(contexts), encoder.encode_texts(wholes), strict=True
        )
    ]


def _split(key: tuple[int, int], context: list[int], whole: list[int]) -> Pair:
    n_context = len(context)
    return Pair(*key, tuple(whole[:n_context]), tuple(whole[n_context:]))


@torch.inference_mode()
def _score_batch(model: PreTrainedModel, batch: Sequence[Pair]) -> list[float]:
    """Pad on the right, where a causal model cannot see it, and read each row once."""
    width = len(batch[0].tokens) - 1
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    for row, pair in enumerate(batch):
        ids[row, : len(pair.tokens) - 1] = torch.tensor(pair.tokens[:-1])
    first = min(len(pair.context) for pair in batch) - 1
    arguments: dict[str, Any] = {"use_cache": False, "logits_to_keep": width - first}
    accepted = accepted_arguments(model)
    arguments = {name: value for name, value in arguments.items() if name in accepted}
    logits = model(input_ids=ids.to(model.device), **arguments).logits
    offset = width - logits.shape[1]
    scores = []
    for row, pair in enumerate(batch):
        start = len(pair.context) - 1 - offset
        rows = logits[row, start : start + len(pair.continuation)].float()
        targets = torch.tensor(pair.continuation, device=rows.device)
        log_probabilities = rows.log_softmax(-1).gather(-1, targets[:, None])
        scores.append(float(log_probabilities.sum()))
    return scores
