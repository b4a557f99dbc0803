"""Decoding of a batch, token by token: rows leave it as soon as their answer is known."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    hidden_width,
    inverse,
    keep_rows,
    part_tokens,
    reserved_cache,
    reserved_layers,
    skips_padding,
    without_gaps,
)
from palimpsest.lm.models.huggingface.pending import PendingPrompt, finished_answer
from palimpsest.lm.models.huggingface.prefixes import NONE as NO_PREFIX
from palimpsest.lm.models.huggingface.prefixes import shared_prefixes
from palimpsest.lm.models.huggingface.quiet import without_log
from palimpsest.lm.models.huggingface.tokenization import Detokenizer
from palimpsest.lm.models.protocol import Decided, Generation
from palimpsest.lm.models.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LEAST_OF_PART = 1 / 16
_LEAST_OF_BATCH = 1 / 20
_LEAST_BY_WIDTH = 16
"""Prefixes are read by themselves if that saves so many of a part's tokens, and so many of a
batch's, or so many over the network's width: less is lost again to another pass, and to copies and
masks, which weigh the more the narrower a network is."""

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
    the padding of the whole batch, and aligned on the right in the cache; what several of them
    begin with is read once. Decoding then takes all rows together.

    Args:
        model: With the weights.
        prompts: Token ids, none empty.
        n_new: How many tokens are fed after the prompts at most.
        memory: Where the cache goes; nothing else may use it meanwhile.
        sampling: How tokens are drawn; by default they are the most probable ones.
        share: Whether prefixes are looked for.
    """

    def __init__(
        self,
        model: Network,
        prompts: Sequence[Sequence[int]],
        *,
        n_new: int,
        memory: CacheMemory | None = None,
        sampling: Sampling | None = None,
        share: bool = True,
    ) -> None:
        self._model = model
        self._accepted = accepted_arguments(model)
        self._n_columns = max(map(len, prompts))
        self._parts = [slice(0, len(prompts))]
        self._order = list(range(len(prompts)))
        self._n_shared = [0] * len(prompts)
        self._prefixes: CachedDecoder | None = None
        self._cache: Cache = DynamicCache(config=model.config)
        if can_reserve(model.config):
            n_columns = self._n_columns + n_new
            self._cache = reserved_cache(model.config, len(prompts), n_columns, memory)
            self._divide(prompts, share=share)
        # A row is one of the cache from here on; callers know it by its place among the prompts.
        self._prompts = [prompts[row] for row in self._order]
        self._place = inverse(self._order)
        self._chooser = _chooser(sampling, self._prompts)
        n_prompt = torch.tensor([len(prompt) for prompt in self._prompts], device=model.device)
        self._positions = n_prompt[:, None] - 1
        columns = torch.arange(self._n_columns + n_new, device=model.device)
        self._mask = (columns >= self._n_columns - n_prompt[:, None]).long()
        self._padded = len(set(map(len, prompts))) > 1

    def _divide(self, prompts: Sequence[Sequence[int]], *, share: bool) -> None:
        """Choose the order of the rows, the parts in which they are read, and the prefixes."""
        limit = part_tokens(self._model.device)
        lengths = list(map(len, prompts))
        self._order.sort(key=lambda row: lengths[row], reverse=True)
        share_of_batch = max(_LEAST_OF_BATCH, _LEAST_BY_WIDTH / hidden_width(self._model.config))
        least = max(limit * _LEAST_OF_PART, sum(lengths) * share_of_batch)
        found = shared_prefixes(prompts, least=least) if share else None
        if found is None:
            self._parts = split_by_length([lengths[row] for row in self._order], limit)
            return
        own = [n - n_shared for n, n_shared in zip(lengths, found.n_shared, strict=True)]
        alone = [row for row in self._order if found.of[row] == NO_PREFIX]
        others = [row for row in self._order if found.of[row] != NO_PREFIX]
        others.sort(key=lambda row: (-own[row], found.of[row]))
        self._order = alone + others
        self._n_shared = [found.n_shared[row] for row in self._order]
        self._parts = split_by_length([lengths[row] for row in alone], limit) + [
            slice(len(alone) + part.start, len(alone) + part.stop)
            for part in split_by_length([own[row] for row in others], limit)
        ]
        self._prefix_of = [found.of[row] for row in self._order]
        self._prefixes = CachedDecoder(self._model, found.tokens, n_new=0)

    def start(self) -> list[int]:
        """Read the prompts and return the first new token of each."""
        tokens = [NOT_FINITE] * len(self._prompts)
        n_read = 0
        for rows, logits in self.read():
            for row, token in zip(rows, self._chooser.choose(logits, n_read), strict=True):
                tokens[row] = token
            n_read += len(rows)
        return tokens

    def read(self) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Read the prompts in parts.

        Yields:
            Which prompts a part has, and the logits of what comes next, (rows, 1, tokens).
        """
        if self._prefixes is not None:
            for _ in self._prefixes.read():
                pass
        for rows in self._parts:
            yield self._order[rows], self._read(rows)
        self._prefixes = None
        self._show(slice(0, len(self._prompts)), 0, self._n_columns)

    @torch.inference_mode()
    def _read(self, rows: slice) -> torch.Tensor:
        part, lengths = self._prompts[rows], [len(prompt) for prompt in self._prompts[rows]]
        longest = max(lengths)
        # A row that has more in common reads some of it again: its last columns are those of all.
        width = max(n - own for n, own in zip(lengths, self._n_shared[rows], strict=True))
        start, end = self._n_columns - longest, self._n_columns - width
        self._show(rows, start, end)
        if width < longest:
            self._fill(rows, lengths, longest - width)
        padded = [[0] * (width - len(prompt)) + list(prompt[-width:]) for prompt in part]
        ids = torch.tensor(padded, device=self._model.device)
        ends = torch.tensor(lengths, device=ids.device)[:, None]
        positions = torch.arange(-width, 0, device=ids.device) + ends
        # Without padding, no mask at all lets the attention use its fast causal path.
        whole = min(lengths) == longest
        mask = None if whole else self._mask[rows, start : self._n_columns]
        return self._run(ids, mask, positions.clamp(min=0), n_logits=1)

    def _fill(self, rows: slice, lengths: Sequence[int], n_columns: int) -> None:
        """Copy the first columns that a part shows, so many, from the prefixes of its rows."""
        source = self._prefixes
        assert source is not None
        # All rows of this part have a prefix.
        places = [source._place[number] for number in self._prefix_of[rows]]
        n_prefix = [len(source._prompts[place]) for place in places]
        own, theirs, numbers = (
            torch.tensor(each, device=self._mask.device)[:, None]
            for each in (lengths, n_prefix, places)
        )
        at = torch.arange(n_columns, device=own.device) - (max(lengths) - own)  # place in the text
        columns = source._n_columns - theirs + at.clamp(min=0)
        pairs = zip(reserved_layers(self._cache), reserved_layers(source._cache), strict=True)
        for layer, read in pairs:
            layer.fill(read, numbers, columns, hidden=at < 0)

    @torch.inference_mode()
    def feed(self, tokens: Sequence[int]) -> list[int]:
        """Append one token to each row and return the next ones."""
        ids = torch.tensor([tokens[at] for at in self._order], device=self._mask.device)[:, None]
        self._n_columns += 1
        self._positions = self._positions + 1
        mask = self._mask[:, : self._n_columns] if self._padded else None
        found = self._chooser.choose(self._run(ids, mask, self._positions, n_logits=1))
        return [found[row] for row in self._place]

    @torch.inference_mode()
    def keep(self, rows: list[int]) -> None:
        """Drop all other rows, here and in the cache."""
        kept = [self._place[row] for row in rows]
        order = without_gaps(len(self._place), sorted(kept))
        at = {row: place for place, row in enumerate(order)}
        self._place = [at[row] for row in kept]
        self._order = inverse(self._place)
        self._mask, self._positions = self._mask[order], self._positions[order]
        self._chooser.keep(order)
        keep_rows(self._cache, order, self._mask.device)

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
        kept = torch.tensor([self._place[row] for row in rows], dtype=torch.long, device=device)
        for layer in reserved_layers(self._cache):
            layer.branch(kept)
        mask = self._mask[kept, : self._n_columns + width] if self._padded else None
        positions = self._positions[kept] + torch.arange(1, width + 1, device=device)
        return self._run(torch.tensor(padded, device=device), mask, positions, n_logits=width)

    def _show(self, rows: slice, start: int, end: int) -> None:
        for layer in reserved_layers(self._cache):
            layer.show(rows, start, end)

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
        return [token for _, logits in self.read() for token in self._chooser.choose(logits)]

    @torch.inference_mode()
    def read(self) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Read the prompts, as :meth:`CachedDecoder.read` does, all in one part."""
        arguments = {"use_cache": False, "logits_to_keep": 1}
        logits = run(self._model, self._ids, arguments, self._accepted)
        yield list(range(len(self._ids))), logits

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
    share: bool = True,
) -> CachedDecoder | RecomputingDecoder:
    """Return the decoder that suits the model's architecture."""
    if _has_cache(model):
        return CachedDecoder(
            model, prompts, n_new=n_new, memory=memory, sampling=sampling, share=share
        )
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
