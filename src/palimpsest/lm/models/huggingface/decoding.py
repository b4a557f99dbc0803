"""Greedy decoding: rows leave the batch as soon as their answer is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Literal

from palimpsest.lm.models.huggingface.cache import without_gaps
from palimpsest.lm.models.huggingface.decoders import Decoder
from palimpsest.lm.models.huggingface.quiet import without_log
from palimpsest.lm.models.huggingface.tokenization import Detokenizer, cut_at, settled_text
from palimpsest.lm.models.protocol import Decided, Generation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Finish = Literal["stop", "decided", "length"]

_COMPACT_SHARE = 0.25
"""Drop finished rows once they are this share of the batch; copying the cache costs as well."""


@dataclass
class Row:
    """One prompt on its way through the decoder."""

    index: int
    """Its place in the caller's list."""

    prompt: list[int]
    """Token ids."""

    limit: int
    """How many new tokens it may get."""

    n_new: int = field(default=0, init=False)


def decode_greedily(
    decoder: Decoder,
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    *,
    ends: frozenset[int],
    stop: Sequence[str],
    decided: Decided | None,
) -> Iterator[tuple[int, Generation]]:
    """Continue every row; yield its place and its answer as soon as it is finished.

    Args:
        decoder: Holds the same rows.
        rows: The prompts with their limits.
        tokenizer: Of the model.
        ends: The ids of all end tokens.
        stop: An answer ends before the first of these.
        decided: Told the text so far, without broken characters or half a stop string; ``True``
            ends the row.
    """
    started = perf_counter()
    detokenizer = Detokenizer(tokenizer, [row.prompt for row in rows])
    texts = [""] * len(rows)
    held = list(range(len(rows)))  # which row each line of the decoder belongs to
    alive = set(held)
    with without_log():
        tokens = decoder.start()
    while True:
        lines = [line for line, row in enumerate(held) if row in alive]
        speaking = [line for line in lines if tokens[line] not in ends]
        extended = detokenizer.extend(
            [held[line] for line in speaking], [tokens[line] for line in speaking]
        )
        for line, text in zip(speaking, extended, strict=True):
            texts[held[line]] = text
        for line in lines:
            row = rows[held[line]]
            row.n_new += 1
            ended = tokens[line] in ends
            result = _finished(row, texts[held[line]], ended, stop, decided)
            if result is not None:
                alive.discard(held[line])
                text, finish = result
                seconds = perf_counter() - started
                yield row.index, Generation(text, finish, row.n_new, seconds, len(row.prompt))
        if not alive:
            return
        if len(alive) <= (1 - _COMPACT_SHARE) * len(held):
            kept = without_gaps(len(held), [line for line, row in enumerate(held) if row in alive])
            decoder.keep(kept)
            tokens = [tokens[line] for line in kept]
            held = [held[line] for line in kept]
        with without_log():
            tokens = decoder.feed(tokens)


def _finished(
    row: Row, text: str, ended: bool, stop: Sequence[str], decided: Decided | None
) -> tuple[str, Finish] | None:
    """Return the answer and the reason if the row ends here."""
    cut = cut_at(text, stop)
    if cut is not None:
        return cut, "stop"
    if ended:
        return text, "stop"
    settled = settled_text(text, stop)
    if decided is not None and decided(row.index, settled):
        return settled, "decided"
    if row.n_new >= row.limit:
        return text, "length"
    return None
