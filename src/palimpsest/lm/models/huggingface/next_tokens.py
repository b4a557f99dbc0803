"""Next tokens: the likeliest ones after a prompt and the beginning of an answer, in batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from palimpsest.lm.models.huggingface.decoding import (
    Network,
    NotFiniteError,
    new_decoder,
    takes_padding,
)
from palimpsest.lm.models.huggingface.memory import BatchBudget
from palimpsest.lm.models.huggingface.quiet import without_log
from palimpsest.lm.models.protocol import NextToken

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BROKEN = "\ufffd"


def likeliest(
    model: Network,
    rows: Sequence[Sequence[int]],
    *,
    n: int,
    budget: BatchBudget,
    share: bool = True,
) -> list[list[tuple[int, float]]]:
    """Return the ``n`` likeliest tokens after each row with their natural-log probabilities.

    Raises:
        NotFiniteError: The model gives NaN or infinity.
    """
    found: list[list[tuple[int, float]]] = [[] for _ in rows]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]), reverse=True)
    while order:
        widest = len(rows[order[0]])
        batch = order[: budget.rows(widest)]
        if not takes_padding(model):
            batch = [row for row in batch if len(rows[row]) == widest]
        try:
            with without_log():
                told = _read(model, [rows[row] for row in batch], n, share=share)
        except (RuntimeError, MemoryError) as error:
            budget.halve(len(batch), error, model.device)
            continue
        for row, tokens in zip(batch, told, strict=True):
            found[row] = tokens
        order = order[len(batch) :]
    return found


@torch.inference_mode()
def _read(
    model: Network, rows: Sequence[Sequence[int]], n: int, *, share: bool
) -> list[list[tuple[int, float]]]:
    found: list[list[tuple[int, float]]] = [[] for _ in rows]
    for part, logits in new_decoder(model, rows, n_new=0, share=share).read():
        last = logits[:, -1].float()
        totals = last.logsumexp(-1, keepdim=True)
        if not bool(totals.isfinite().all()):
            raise NotFiniteError(rows[part[int(totals.isfinite().flatten().long().argmin())]])
        values, tokens = last.topk(min(n, last.shape[-1]))
        pairs = zip(tokens.tolist(), (values - totals).tolist(), strict=True)
        for row, pair in zip(part, pairs, strict=True):
            found[row] = list(zip(*pair, strict=True))
    return found


class AnswerTexts:
    """Texts of the tokens with which an answer begins, as they stand behind a prompt.

    Args:
        tokenizer: Of the model.
        before: The tokens of a text that ends in a word, so that a space is kept.
        ends: The tokens that end an answer; they have no text.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, before: Sequence[int], ends: Collection[int]
    ) -> None:
        self._tokenizer = tokenizer
        self._before = list(before)
        self._ends = frozenset(ends)
        self._n_before = len(self._decoded(()))
        self.of: Callable[[tuple[int, ...]], str] = lru_cache(2**18)(self._of)
        """Return the text of the first tokens of an answer."""

    def _of(self, tokens: tuple[int, ...]) -> str:
        return self._decoded(tokens)[self._n_before :].rstrip(_BROKEN)

    def _decoded(self, tokens: tuple[int, ...]) -> str:
        return str(
            self._tokenizer.decode(
                [*self._before, *tokens],
                skip_special_tokens=True,
                clean_up_tokenization_spaces=False,
            )
        )

    def next(self, beginning: tuple[int, ...], token: int, log_probability: float) -> NextToken:
        """Return a token behind a beginning."""
        tokens = (*beginning, token)
        return NextToken(tokens, self.of(tokens), log_probability, token in self._ends)
