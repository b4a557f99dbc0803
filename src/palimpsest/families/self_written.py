"""Texts that models write themselves: sampled with a seed, in batches that are the same always."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from palimpsest.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Told = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""

N_TOGETHER = 16
"""Texts that are written together. What a text says may depend on its batch, by rounding, and so
the number is part of the result."""

FEWEST_TOKENS = 4
"""A text that ends earlier says nothing."""

OPENINGS = (
    "The", "In the", "A", "I", "It is", "This", "We", "What is", "How to", "When", "There are",
    "For example,", "Question:", "1.", "He said", "They", "Because", "You can", "My", "Today",
    "def", "Once upon a time", "According to", "If",
)  # fmt: skip
"""Short beginnings of natural text, for bases that have no start token, or write nothing after
theirs."""


class WrittenText(NamedTuple):
    """A text in tokens: what was given, and what a model has added, its end token included."""

    ids: list[int]
    n_given: int

    @property
    def n_new(self) -> int:
        """How many tokens the model has added."""
        return len(self.ids) - self.n_given


def write_texts(
    network: PreTrainedModel,
    beginnings: Sequence[Sequence[int]],
    *,
    n_tokens: int,
    n_context: int | None,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    written: Sequence[WrittenText] = (),
) -> Iterator[list[WrittenText]]:
    """Continue each beginning by sampling from the model as it is (temperature one).

    Args:
        network: Its generation configuration is set aside but for the end tokens.
        beginnings: Tokens, none of them empty.
        n_tokens: At most so many are added to each.
        n_context: How many the network can look back, if that is known.
        tokenizer: Of the network.
        seed: Each batch has a generator of its own, by this and its number.
        written: The texts of the first batches, which are there already; those of a batch that is
            not whole are written again.

    Yields:
        The texts so far, after each batch.
    """
    ends = end_tokens(network, tokenizer)
    kept = len(written) // N_TOGETHER * N_TOGETHER if len(written) < len(beginnings) else None
    found = list(written[:kept])
    for first in range(len(found), len(beginnings), N_TOGETHER):
        batch = beginnings[first : first + N_TOGETHER]
        found += _sampled(network, batch, n_tokens, n_context, ends, _seed_of(seed, first))
        yield found


def end_tokens(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens at which a text ends."""
    named: Any = getattr(network.generation_config, "eos_token_id", None)
    if named is None:
        named = tokenizer.eos_token_id
    return [named] if isinstance(named, int) else list(named or [])


def check_written(texts: Sequence[WrittenText], *, who: str, openings: str) -> list[WrittenText]:
    """Return the texts that say something.

    Raises:
        UserError: They are fewer than a quarter.
    """
    long = [text for text in texts if text.n_new >= FEWEST_TOKENS]
    if 4 * len(long) < len(texts):
        other = "natural" if openings == "start" else "start"
        raise UserError(
            f"The base '{who}' writes next to nothing by itself: {len(texts) - len(long):,} of its "
            f"{len(texts):,} texts end within {FEWEST_TOKENS} tokens.",
            hint=f"Let it begin otherwise: --train-set openings={other}.",
        )
    return long


def _sampled(
    network: PreTrainedModel,
    beginnings: Sequence[Sequence[int]],
    n_tokens: int,
    n_context: int | None,
    ends: Sequence[int],
    seed: int,
) -> list[WrittenText]:
    from transformers import GenerationConfig

    width = max(map(len, beginnings))
    n_new = n_tokens if n_context is None else min(n_tokens, n_context - width)
    pad = ends[0] if ends else 0
    ids = torch.full((len(beginnings), width), pad)
    mask = torch.zeros_like(ids)
    for row, beginning in enumerate(beginnings):
        ids[row, width - len(beginning) :] = torch.tensor(beginning)
        mask[row, width - len(beginning) :] = 1
    config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=n_new,
        eos_token_id=list(ends) or None, pad_token_id=pad,
    )  # fmt: skip
    own, network.generation_config = network.generation_config, config
    devices = [network.device] if network.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            torch.manual_seed(seed)
            rows = network.generate(  # type: ignore[operator]
                ids.to(network.device), attention_mask=mask.to(network.device)
            )
    finally:
        network.generation_config = own
    new = rows[:, width:].tolist()
    return [
        WrittenText([*beginning, *_until_end(row, ends)], len(beginning))
        for beginning, row in zip(beginnings, new, strict=True)
    ]


def _until_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    place = next((place for place, token in enumerate(ids) if token in ends), None)
    return ids if place is None else ids[: place + 1]


def _seed_of(seed: int, first: int) -> int:
    digest = hashlib.sha256(f"palimpsest text {seed} {first}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
