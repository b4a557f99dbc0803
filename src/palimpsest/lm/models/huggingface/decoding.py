"""Decoding of a batch, token by token: rows leave it as soon as their answer is known."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import torch
from transformers.cache_utils import Cache, DynamicCache

from palimpsest.lm.models.huggingface.choosing import (
    NOT_FINITE,
    DrawnTokens,
    MostProbable,
    TokenChooser,
)
from palimpsest.lm.models.huggingface.memory import (
    CacheMemory,
    can_reserve,
    keep_rows,
    reserved_cache,
    reserved_layers,
    skips_padding,
    without_gaps,
)
from palimpsest.lm.models.huggingface.quiet import without_log
from palimpsest.lm.models.huggingface.tokenization import Detokenizer, settled_text
from palimpsest.lm.models.protocol import Decided, Finish, Generation
from palimpsest.lm.models.sampling import Sampling
from palimpsest.lm.stops import answer_start, first_stop, may_open_thought

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CPU_PART = 1024
_ACCELERATOR_PART = 16384
"""Tokens of the prompts that are read at once: on the CPU, what stays in its second cache."""

_COMPACT_SHARE = 0.25
"""Drop finished rows once they are this share of the batch; copying the cache costs as well."""


class NotFiniteError(ArithmeticError):
    """Logits that are NaN or infinite.

    Args:
        tokens: After which they came.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        super().__init__("The logits are not finite.")
        self.tokens = tokens


class Network(Protocol):
    """A causal network of transformers, in whatever wrapper, or what takes its place."""

    @property
    def config(self) -> Any:
        """As transformers'."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def __call__(self, **arguments: Any) -> Any:
        """Return an object with ``logits``."""


class Decoder(Protocol):
    """A batch of prompts that is continued token by token."""

    def start(self) -> list[int]:
        """Read the prompts and return the first new token of each, or :data:`NOT_FINITE`."""

    def feed(self, tokens: Sequence[int]) -> list[int]:
        """Append one token to each row and return the next ones, or :data:`NOT_FINITE`."""

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows; the order is that of :func:`without_gaps`."""


class CachedDecoder:
    """A left-padded batch with a key-value cache.

    Where the cache can be reserved, the prompts are read in parts of similar length, each without
    the padding of the whole batch, and aligned on the right in the cache. Decoding then takes all
    rows together.

    Args:
        model: With the weights.
        prompts: Token ids, none empty, the longest first.
        n_new: How many tokens are fed after the prompts at most.
        memory: Where the cache goes; nothing else may use it meanwhile.
        sampling: How tokens are drawn; by default they are the most probable ones.
    """

    def __init__(
        self,
        model: Network,
        prompts: Sequence[Sequence[int]],
        *,
        n_new: int,
        memory: CacheMemory | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        self._model = model
        self._chooser = _chooser(sampling, prompts)
        self._accepted = accepted_arguments(model)
        self._prompts = prompts
        self._n_columns = max(map(len, prompts))
        self._parts = [slice(0, len(prompts))]
        self._cache: Cache = DynamicCache(config=model.config)
        if can_reserve(model.config):
            n_columns = self._n_columns + n_new
            self._cache = reserved_cache(model.config, len(prompts), n_columns, memory)
            limit = _CPU_PART if model.device.type == "cpu" else _ACCELERATOR_PART
            self._parts = split_by_length([len(prompt) for prompt in prompts], limit)
        n_prompt = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
        self._positions = n_prompt[:, None] - 1
        columns = torch.arange(self._n_columns + n_new, device=model.device)
        self._mask = (columns >= self._n_columns - n_prompt[:, None]).long()
        self._padded = len(set(map(len, prompts))) > 1

    def start(self) -> list[int]:
        """Read the prompts and return the first new token of each."""
        tokens: list[int] = []
        for logits in self.read():
            tokens += self._chooser.choose(logits, len(tokens))
        return tokens

    def read(self) -> Iterator[torch.Tensor]:
        """Read the prompts in parts and yield the logits of what comes next, (rows, 1, tokens)."""
        for rows in self._parts:
            part = self._prompts[rows]
            width = max(map(len, part))
            self._show(rows, self._n_columns - width, self._n_columns - width)
            yield self._read(part, width)
        self._show(slice(0, len(self._prompts)), 0, self._n_columns)

    @torch.inference_mode()
    def feed(self, tokens: Sequence[int]) -> list[int]:
        """Append one token to each row and return the next ones."""
        ids = torch.tensor(tokens, device=self._mask.device)[:, None]
        self._n_columns += 1
        self._positions = self._positions + 1
        mask = self._mask[:, : self._n_columns] if self._padded else None
        return self._chooser.choose(self._run(ids, mask, self._positions, n_logits=1))

    @torch.inference_mode()
    def keep(self, rows: list[int]) -> None:
        """Drop all other rows, here and in the cache."""
        self._mask, self._positions = self._mask[rows], self._positions[rows]
        self._chooser.keep(rows)
        keep_rows(self._cache, rows, self._mask.device)

    @torch.inference_mode()
    def branch(self, rows: Sequence[int], endings: Sequence[Sequence[int]]) -> torch.Tensor:
        """Continue ``rows``, each as often as it is named, and return the logits of the endings.

        Only with a reserved cache, after :meth:`start`, and once.

        Args:
            rows: Which prompt each ending belongs to.
            endings: Token ids, at most ``n_new``; shorter ones are padded on the right, where the
                tokens before cannot see it.
        """
        width = max(map(len, endings))
        device = self._mask.device
        padded = [[*ending, *[0] * (width - len(ending))] for ending in endings]
        kept = torch.tensor(rows, dtype=torch.long, device=device)
        for layer in reserved_layers(self._cache):
            layer.branch(kept)
        mask = self._mask[kept, : self._n_columns + width] if self._padded else None
        positions = self._positions[kept] + torch.arange(1, width + 1, device=device)
        return self._run(torch.tensor(padded, device=device), mask, positions, n_logits=width)

    def _show(self, rows: slice, start: int, end: int) -> None:
        for layer in reserved_layers(self._cache):
            layer.show(rows, start, end)

    @torch.inference_mode()
    def _read(self, prompts: Sequence[Sequence[int]], width: int) -> torch.Tensor:
        padded = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        ids = torch.tensor(padded, device=self._model.device)
        starts = torch.tensor([width - len(prompt) for prompt in prompts], device=ids.device)
        positions = torch.arange(width, device=ids.device) - starts[:, None]
        # Without padding, no mask at all lets the attention use its fast causal path.
        mask = (positions >= 0).long() if bool(starts.any()) else None
        return self._run(ids, mask, positions.clamp(min=0), n_logits=1)

    def _run(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None,
        positions: torch.Tensor,
        *,
        n_logits: int,
    ) -> torch.Tensor:
        arguments = {
            "attention_mask": mask,
            "position_ids": positions,
            "past_key_values": self._cache,
            "use_cache": True,
            "logits_to_keep": n_logits,
        }
        return run(self._model, ids, arguments, self._accepted)


class RecomputingDecoder:
    """For architectures without such a cache: prompts of one length, read anew at each token.

    Args:
        model: With the weights.
        prompts: Token ids, all of the same length.
        sampling: As for :class:`CachedDecoder`.
    """

    def __init__(
        self, model: Network, prompts: Sequence[Sequence[int]], sampling: Sampling | None = None
    ) -> None:
        self._model = model
        self._chooser = _chooser(sampling, prompts)
        self._accepted = accepted_arguments(model)
        self._ids = torch.tensor([list(prompt) for prompt in prompts], device=model.device)

    def start(self) -> list[int]:
        """Read the prompts and return the first new token of each."""
        return [token for logits in self.read() for token in self._chooser.choose(logits)]

    @torch.inference_mode()
    def read(self) -> Iterator[torch.Tensor]:
        """Read the prompts and yield the logits of what comes next, (rows, 1, tokens)."""
        arguments = {"use_cache": False, "logits_to_keep": 1}
        yield run(self._model, self._ids, arguments, self._accepted)

    def feed(self, tokens: Sequence[int]) -> list[int]:
        """Append one token to each row and return the next ones."""
        new = torch.tensor(tokens, device=self._ids.device)[:, None]
        self._ids = torch.cat([self._ids, new], dim=1)
        return self.start()

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows."""
        self._ids = self._ids[rows]
        self._chooser.keep(rows)


def new_decoder(
    model: Network,
    prompts: Sequence[Sequence[int]],
    *,
    n_new: int,
    memory: CacheMemory | None = None,
    sampling: Sampling | None = None,
) -> CachedDecoder | RecomputingDecoder:
    """Return the decoder that suits the model's architecture."""
    if _has_cache(model):
        return CachedDecoder(model, prompts, n_new=n_new, memory=memory, sampling=sampling)
    return RecomputingDecoder(model, prompts, sampling)


def _chooser(sampling: Sampling | None, prompts: Sequence[Sequence[int]]) -> TokenChooser:
    return MostProbable() if sampling is None else DrawnTokens(sampling, prompts)


def can_branch(model: Network) -> bool:
    """Whether :meth:`CachedDecoder.branch` works for this architecture."""
    return _has_cache(model) and can_reserve(model.config)


def takes_padding(model: Network) -> bool:
    """Whether prompts of different length can share a batch."""
    return _has_cache(model) and skips_padding(model.config)


def split_by_length(lengths: Sequence[int], limit: int) -> list[slice]:
    """Divide rows, the longest first, into parts of at most ``limit`` tokens or one row.

    A part that is at least half full ends where the length changes, so that most parts need no
    padding.

    Example:
        >>> split_by_length([5, 5, 4, 4, 4], limit=12)
        [slice(0, 2, None), slice(2, 5, None)]
    """
    parts, start = [], 0
    for row in range(1, len(lengths) + 1):
        n_tokens = (row - start) * lengths[start]
        full = n_tokens + lengths[start] > limit
        if (
            row == len(lengths)
            or full
            or (lengths[row] != lengths[row - 1] and n_tokens * 2 >= limit)
        ):
            parts.append(slice(start, row))
            start = row
    return parts


def run(
    model: Network,
    ids: torch.Tensor,
    arguments: dict[str, Any],
    accepted: frozenset[str],
) -> torch.Tensor:
    """Run the model with those arguments that its architecture knows, and return the logits."""
    arguments = {name: value for name, value in arguments.items() if name in accepted}
    with _contiguous_head(model):
        logits: torch.Tensor = model(input_ids=ids, **arguments).logits
    return logits


@contextmanager
def _contiguous_head(model: Network) -> Iterator[None]:
    """Have the states that the head reads lie together.

    The last positions of some rows are a view with gaps. Of weights that need no gradient, as an
    adapter leaves them, torch makes a copy for each row of such a view: fifteen times the work of
    all the rest where there are 262,144 tokens.
    """
    find = getattr(model, "get_output_embeddings", None)
    head = None if find is None else find()
    if head is None:
        yield
        return
    handle = head.register_forward_pre_hook(
        lambda _, states: tuple(each.contiguous() for each in states)
    )
    try:
        yield
    finally:
        handle.remove()


def accepted_arguments(model: Network) -> frozenset[str]:
    """Return the names that the model's ``forward`` takes, looking through a PEFT wrapper."""
    unwrap = getattr(model, "get_base_model", None)
    inner: Any = model if unwrap is None else unwrap()
    return frozenset(inspect.signature(inner.forward).parameters)


def _has_cache(model: Network) -> bool:
    return "past_key_values" in accepted_arguments(model)


@dataclass
class PendingPrompt:
    """One prompt on its way through the decoder."""

    index: int
    """Its place in the caller's list."""

    tokens: list[int]

    limit: int
    """How many tokens its answer may get."""

    thought_limit: int = 0
    """How many a thought before the answer may get."""

    opening: str = ""
    """The mark of a thought with which the prompt ends: it stands before the model's own text."""

    cut: bool = False
    """Whether it has lost its beginning."""

    thinks: bool = False
    """Whether its batch has room for the thought; without room, it leaves the batch."""

    new: list[int] = field(default_factory=list, init=False)
    _n_before: int = field(default=0, init=False)
    _start: int | None = field(default=None, init=False)

    @property
    def n_most(self) -> int:
        """How many new tokens it needs room for."""
        return self.limit + (self.thought_limit if self.thinks else 0)

    def restart(self) -> None:
        """Forget what it was answered so far."""
        self.new, self._n_before, self._start = [], 0, None

    def answer_start(self, text: str) -> int | None:
        """Return where the answer begins in the text so far; ``None`` in what may be a thought."""
        if self._start is not None:
            return self._start
        start = answer_start(text)
        if start is None or (start == 0 and text.strip() and may_open_thought(text)):
            return None
        if start < len(text):
            self._start = start if text.strip() else None
            self._n_before = len(self.new) - 1 if start else 0
        elif start:
            self._n_before = len(self.new)
        return start

    def needs_room(self, text: str) -> bool:
        """Return whether it has begun a thought for which its batch has no room.

        At the limit, what may be the beginning of a thought counts as one.
        """
        if self.thinks or not self.thought_limit or self.answer_start(text) is not None:
            return False
        self.thinks = answer_start(text) is None or len(self.new) >= self.limit
        return self.thinks

    def is_full(self, *, thinking: bool) -> bool:
        """Return whether there is no room for another token."""
        if thinking:
            return len(self.new) >= (self.thought_limit if self.thinks else self.limit)
        return len(self.new) - self._n_before >= self.limit or len(self.new) >= self.n_most


def decode(
    decoder: Decoder,
    prompts: Sequence[PendingPrompt],
    tokenizer: PreTrainedTokenizerBase,
    *,
    ends: frozenset[int],
    stop: Sequence[str],
    decided: Decided | None,
    alone: bool = False,
) -> Iterator[tuple[int, Generation]]:
    """Continue every prompt; yield its place and its answer as soon as it is finished.

    A prompt whose answer begins with a thought for which there is no room is left unfinished, with
    :attr:`PendingPrompt.thinks` set.

    Args:
        decoder: Holds the same prompts.
        prompts: With their limits.
        tokenizer: Of the model.
        ends: The ids of all end tokens.
        stop: An answer ends before the first of these behind its thought; none of them empty.
        decided: Told the text so far, without broken characters or half a stop string; ``True``
            ends the answer. Not asked while the model thinks.
        alone: Whether answers are decoded without a look at the prompt, as transformers does it.

    Raises:
        NotFiniteError: The model gives NaN or infinity.
    """
    started = perf_counter()
    before = [[] if alone else prompt.tokens for prompt in prompts]
    detokenizer = Detokenizer(tokenizer, before, tidy=alone)
    texts = [prompt.opening for prompt in prompts]
    held = list(range(len(prompts)))  # which prompt each row of the decoder belongs to
    alive = set(held)
    with without_log():
        tokens = decoder.start()
    while True:
        rows = [row for row, at in enumerate(held) if at in alive]
        _check_finite(tokens, rows, [prompts[at] for at in held])
        speaking = [row for row in rows if tokens[row] not in ends]
        extended = detokenizer.extend(
            [held[row] for row in speaking], [tokens[row] for row in speaking]
        )
        for row, text in zip(speaking, extended, strict=True):
            texts[held[row]] = prompts[held[row]].opening + text
        for row in rows:
            prompt = prompts[held[row]]
            prompt.new.append(tokens[row])
            text, ended = texts[held[row]], tokens[row] in ends
            if not ended and prompt.needs_room(text):
                alive.discard(held[row])
                continue
            result = finished_answer(prompt, text, ended, stop, decided)
            if result is not None:
                alive.discard(held[row])
                seconds = perf_counter() - started
                n_new, n_prompt = len(prompt.new), len(prompt.tokens)
                yield prompt.index, Generation(*result, n_new, seconds, n_prompt, prompt.cut)
        if not alive:
            return
        if len(alive) <= (1 - _COMPACT_SHARE) * len(held):
            kept = without_gaps(len(held), [row for row, at in enumerate(held) if at in alive])
            decoder.keep(kept)
            tokens = [tokens[row] for row in kept]
            held = [held[row] for row in kept]
        with without_log():
            tokens = decoder.feed([max(token, 0) for token in tokens])


def _check_finite(
    tokens: Sequence[int], rows: Sequence[int], prompts: Sequence[PendingPrompt]
) -> None:
    """Raise an error if there is no token for one of the rows; others may compute what they like.

    They belong to answers that are finished.
    """
    if NOT_FINITE in tokens:
        for row in rows:
            if tokens[row] == NOT_FINITE:
                raise NotFiniteError([*prompts[row].tokens, *prompts[row].new])


def finished_answer(
    prompt: PendingPrompt, text: str, ended: bool, stop: Sequence[str], decided: Decided | None
) -> tuple[str, Finish] | None:
    """Return the answer and the reason if it ends here."""
    start = prompt.answer_start(text)
    full = prompt.is_full(thinking=start is None)
    if start is None and (ended or full) and answer_start(text) is not None:
        start = 0  # what may have become a thought has not
    end = None if start is None else first_stop(text, stop, start)
    if end is not None:
        return text[:end], "stop"
    if ended:
        return text, "stop"
    if (
        start is not None
        and decided is not None
        and decided(prompt.index, settled := settled_text(text, stop))
    ):
        return settled, "decided"
    return (text, "length") if full else None
