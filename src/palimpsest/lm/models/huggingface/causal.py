"""Causal networks of transformers as language models, asked greedily in batches that fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from itertools import takewhile
from random import Random
from typing import TYPE_CHECKING

import torch

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface.decoding import (
    Decoder,
    NotFiniteError,
    can_branch,
    decode,
    new_decoder,
    takes_padding,
)
from palimpsest.lm.models.huggingface.finite import not_finite
from palimpsest.lm.models.huggingface.fused_llama import FusedLlama, fused
from palimpsest.lm.models.huggingface.likelihood import score_candidates
from palimpsest.lm.models.huggingface.memory import (
    BatchBudget,
    CacheMemory,
    MemoryPool,
    default_budget,
    empty_cache,
    token_bytes,
)
from palimpsest.lm.models.huggingface.next_tokens import AnswerTexts, likeliest
from palimpsest.lm.models.huggingface.options import THINKING_TOKENS
from palimpsest.lm.models.huggingface.pending import PendingPrompt
from palimpsest.lm.models.huggingface.prefixes import clusters, together
from palimpsest.lm.models.huggingface.small_networks import DividedDecoder, one_core_threads
from palimpsest.lm.models.huggingface.tokenization import PromptEncoder
from palimpsest.lm.models.protocol import Decided, Generation, Joint, NextToken
from palimpsest.lm.models.sampling import DrawsAnswers
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.stops import open_thought, without_thought

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from palimpsest.lm.likelihoods import Likelihood

_UNTOLD = 10**15
"""Tokenizers that do not know how long a text may be say something larger."""

_N_LM_EVAL = 2048
"""Tokens that lm-evaluation-harness takes a model to look back if nothing tells."""

_N_SHOWN = 4
"""Tokens on each side of the place where an answer begins."""

_SMALL_BYTES = 256 * 2**20
"""Weights up to which a model on the CPU is small: each core gets rows of its own, so that all of
them read the weights, and a copy may be made for a faster form of the same network."""


class CausalModel(DrawsAnswers, ABC):
    """A causal network, asked in batches; where it comes from, a subclass says.

    Sampling, minimum lengths, penalties and the like in the generation configuration are ignored:
    decoding is greedy, unless :meth:`sampling` says otherwise. Only its end tokens are used.

    A thought before the answer (``<think>…</think>``) is a part of the text, but no part of the
    answer: no stop string is looked for in it, and it has tokens of its own.

    A prompt that leaves no room for an answer in the model's context gets an empty answer with
    ``finish="length"``, is counted in :attr:`n_too_long`, and does not stop the run.

    Args:
        spec: The text that names the model.
        fingerprint: Identifies the weights and all else that determines answers.
        name: The model's name, for messages.
        config: Of the network.
        tokenizer: Of the network.
        device: Where the network computes.
        dtype: Of its weights.
        n_embeddings: How many token ids the network knows; by default what its configuration says.
        chat: Whether prompts go through the chat template: all, none, or (``None``) only messages.
        batch_tokens: Rows × columns of a batch; by default chosen from the device and its free
            memory.
        thinking_tokens: How many new tokens a thought may get, besides those of the answer.
        template: Variables of the chat template.
    """

    def __init__(
        self,
        spec: str,
        *,
        fingerprint: str,
        name: str,
        config: PreTrainedConfig,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
        dtype: torch.dtype,
        n_embeddings: int = 0,
        chat: bool | None,
        batch_tokens: int | None = None,
        thinking_tokens: int = THINKING_TOKENS,
        template: Mapping[str, object] | None = None,
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.n_too_long = 0
        """How many prompts so far did not fit into the model's context."""
        self._text_config = config.get_text_config(decoder=True)
        self._encoder = PromptEncoder(
            tokenizer,
            name=name,
            chat=chat,
            n_embeddings=n_embeddings or self._text_config.vocab_size,
            start=self._start_token(),
            variables=template,
        )
        self.spec = spec
        self.fingerprint = fingerprint
        self._device = device
        self._dtype = dtype
        self._batch_tokens = batch_tokens
        self._thinking_tokens = thinking_tokens
        self.shares_prefixes = True
        """Whether what several prompts of a batch begin with is read once."""
        self._as_lm_eval = False
        self._other_batches = 0
        self._network: PreTrainedModel | None = None
        self._fast: PreTrainedModel | FusedLlama | None = None  # :attr:`_fastest`
        self._threads: ThreadPoolExecutor | None = None
        self._pool = MemoryPool()

    @abstractmethod
    def _load(self) -> PreTrainedModel:
        """Return the network with its weights, ready to be asked; called at the first question."""

    @abstractmethod
    def _count_parameters(self) -> int:
        """Return how many parameters the network has."""

    @abstractmethod
    def describe(self) -> Mapping[str, str]:
        """Return facts for a report."""

    @property
    def chat(self) -> bool:
        """Whether plain text is sent as one user message through the chat template."""
        return self._encoder.chat is True

    @property
    def encoder(self) -> PromptEncoder:
        """What turns prompts into tokens."""
        return self._encoder

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's weights."""
        return self._dtype

    @property
    def n_embeddings(self) -> int:
        """How many token ids the network knows."""
        return self._encoder.n_embeddings

    @property
    def n_parameters(self) -> int:
        """How many parameters the network has, tied ones once."""
        return self._n_parameters

    @property
    def memory_bytes(self) -> int:
        """About how much memory it takes while it answers: its weights, and a full batch."""
        size = self._dtype.itemsize
        batch = self._budget.n_tokens * token_bytes(self.config, size)
        return self._n_parameters * size + batch

    @property
    def form(self) -> bool | None:
        """Whether prompts go through the chat template: all, none, or only messages."""
        return self._encoder.chat

    @contextmanager
    def as_lm_eval(self) -> Iterator[None]:
        """Ask to the token as lm-evaluation-harness for a while (:class:`.AsksAsLmEval`)."""
        self._as_lm_eval = self._encoder.marks_templates = True
        try:
            yield
        finally:
            self._as_lm_eval = self._encoder.marks_templates = False

    @contextmanager
    def in_other_batches(self, number: int) -> Iterator[None]:
        """Ask in another order and in smaller batches for a while; as in the protocol."""
        self._other_batches = number
        try:
            yield
        finally:
            self._other_batches = 0

    @contextmanager
    def in_form(self, form: bool | None) -> Iterator[None]:
        """Ask in another form for a while; :attr:`fingerprint` does not follow."""
        before, self._encoder.chat = self._encoder.chat, form
        try:
            yield
        finally:
            self._encoder.chat = before

    def written(self, prompt: Prompt) -> str:
        """Return the text that the network reads, start token aside.

        Raises:
            UserError: There is no chat template, it refuses the messages, or it does not end.
        """
        return self._encoder.text(prompt)[0]

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Return the tokens that the network reads for each prompt."""
        return self._encoder.encode(prompts)

    def joint(self, prompt: Prompt, answer: str) -> Joint:
        """Return the tokens on both sides of the place where an answer begins."""
        text, templated = self._encoder.text(prompt)
        space = "" if templated or text[-1:].isspace() else " "
        whole_text = text + space + answer.lstrip()
        before, whole = self._encoder.encode_texts([(text, templated), (whole_text, templated)])
        pairs = zip(before, whole, strict=False)
        n_same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        last, first = before[-_N_SHOWN:], whole[n_same : n_same + _N_SHOWN]
        names = [
            tuple(str(self.tokenizer.decode([token])) for token in part) for part in (last, first)
        ]
        return Joint(names[0], names[1], len(before) - n_same)

    @property
    def n_context(self) -> int | None:
        """How many tokens the model can look back, prompt and answer together, if it says so."""
        found = getattr(self._text_config, "max_position_embeddings", None)
        return found if isinstance(found, int) and found > 0 else None

    @property
    def network(self) -> PreTrainedModel:
        """The network with its weights, which are loaded at the first call."""
        if self._network is None:
            self._network = self._load()
        return self._network

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has by itself."""
        return self._encoder.count(texts)

    def vocabulary(self) -> frozenset[str]:
        """Return the tokens that there are."""
        return frozenset(self.tokenizer.get_vocab())

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        decided: Decided | None = None,
    ) -> Iterator[tuple[int, Generation]]:
        """Continue every prompt; yield ``(index, generation)`` in order of completion."""
        pending = self.pending(prompts, max_new_tokens)
        for prompt in pending:
            if prompt.limit <= 0:
                yield prompt.index, Generation("", "length", 0, 0.0)
        pending = [prompt for prompt in pending if prompt.limit > 0]
        pending = self._arranged(pending)
        if self._other_batches:
            Random(self._other_batches).shuffle(pending)
        stop = list(filter(None, stop))
        while pending:
            batch = self._take(pending)
            n_thinking = sum(prompt.thinks for prompt in batch)
            finished: set[int] = set()
            try:
                for index, generation in self._decode(batch, stop, decided):
                    finished.add(index)
                    yield index, generation
            except (RuntimeError, MemoryError) as error:
                self._pool.clear()
                self._budget.halve(len(batch), error, self._device)
            except NotFiniteError as error:
                raise self._not_finite(error.tokens) from error
            pending = [prompt for prompt in pending if prompt.index not in finished]
            # Where most answers begin with a thought, the next ones get room for it at once.
            if 2 * (sum(prompt.thinks for prompt in batch) - n_thinking) > len(batch):
                for prompt in pending:
                    prompt.thinks = prompt.thought_limit > 0

    def pending(self, prompts: Sequence[Prompt], max_new_tokens: int) -> list[PendingPrompt]:
        """Return the prompts with their tokens, and how many new ones each has room for.

        One that has none is counted in :attr:`n_too_long`.
        """
        found = []
        texts = self._texts(prompts)
        for index, tokens in enumerate(self._encoder.encode_texts(texts)):
            kept = self._kept(tokens, max_new_tokens)
            limit = self._room(len(kept), max_new_tokens)
            self.n_too_long += limit <= 0 < max_new_tokens
            thought = self._room(len(kept) + limit, self._thinking_tokens)
            opening = open_thought(texts[index][0]) if texts[index][1] else ""
            cut, thinks = len(kept) < len(tokens), bool(opening) and thought > 0
            found.append(PendingPrompt(index, kept, limit, thought, opening, cut, thinks))
        return found

    def _arranged(self, pending: Sequence[PendingPrompt]) -> list[PendingPrompt]:
        """Return the prompts in the order in which they are asked, each with its cluster."""
        if self.shares_prefixes and can_branch(self._fastest):
            found = clusters([prompt.tokens for prompt in pending])
            for prompt, cluster in zip(pending, found, strict=True):
                prompt.cluster = cluster
        lengths = [len(prompt.tokens) for prompt in pending]
        order = together(lengths, [prompt.cluster for prompt in pending])
        return [pending[at] for at in order]

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return, for each prompt, the natural-log probability of each candidate continuation.

        Context and continuation are encoded together and divided where the context's own tokens
        end, with trailing spaces of the context counted to the continuation, as
        lm-evaluation-harness does it. A candidate that does not fit into the context of the model
        scores minus infinity.
        """
        found = self._scored(prompts, candidates, margins=False)
        return [[each.log_probability for each in row] for row in found]

    def likelihoods(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[Likelihood]]:
        """Return what :meth:`score` does, with margins."""
        return self._scored(prompts, candidates, margins=True)

    def _scored(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]], *, margins: bool
    ) -> list[list[Likelihood]]:
        if not prompts:
            return []
        try:
            return score_candidates(
                self.network,
                self._encoder,
                prompts,
                candidates,
                n_context=self._n_lm_eval if self._as_lm_eval else self.n_context,
                budget=self._budget.divided(self._other_batches + 1),
                margins=margins,
                as_lm_eval=self._as_lm_eval,
                share=self.shares_prefixes,
            )
        except NotFiniteError as error:
            raise self._not_finite(error.tokens) from error

    def next_tokens(
        self, prompts: Sequence[Prompt], beginnings: Sequence[tuple[int, ...]], *, n: int
    ) -> list[list[NextToken]]:
        """Return the likeliest tokens after each prompt and beginning, the likeliest first.

        A thought that a chat template opens is closed, as for :meth:`score`.
        """
        texts = [(without_thought(t) if made else t, made) for t, made in self._texts(prompts)]
        encoded = self._encoder.encode_texts(texts)
        rows = [[*row, *start] for row, start in zip(encoded, beginnings, strict=True)]
        fitting = [row for row, tokens in enumerate(rows) if self._room(len(tokens), 1) > 0]
        found: list[list[NextToken]] = [[] for _ in rows]
        try:
            told = likeliest(
                self._fastest,
                [rows[row] for row in fitting],
                n=n,
                budget=self._budget,
                share=self.shares_prefixes,
            )
        except NotFiniteError as error:
            raise self._not_finite(error.tokens) from error
        for row, pairs in zip(fitting, told, strict=True):
            found[row] = [self._answer_texts.next(beginnings[row], *pair) for pair in pairs]
        return found

    def _texts(self, prompts: Sequence[Prompt]) -> list[tuple[str, bool]]:
        return list(map(self._encoder.text, prompts))

    @cached_property
    def _answer_texts(self) -> AnswerTexts:
        before = self._encoder.encode_texts([("Answer:", False)])[0]
        return AnswerTexts(self.tokenizer, before, self._end_tokens())

    def close(self) -> None:
        """Let go of the network and of all caches; a later question would load it again."""
        self._network = self._fast = None
        self._pool.clear()
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
        empty_cache(self._device)

    def _decode(
        self, batch: Sequence[PendingPrompt], stop: Sequence[str], decided: Decided | None
    ) -> Iterator[tuple[int, Generation]]:
        for prompt in batch:
            prompt.restart()
        n_new = max(prompt.n_most for prompt in batch)
        with self._pool.lend() as memory:
            yield from decode(
                self._new_decoder([prompt.tokens for prompt in batch], n_new, memory),
                batch,
                self.tokenizer,
                ends=self._end_tokens(),
                stop=stop,
                decided=decided,
                alone=self._as_lm_eval,
            )

    def _new_decoder(
        self, prompts: Sequence[Sequence[int]], n_new: int, memory: Callable[[], CacheMemory]
    ) -> Decoder:
        fast = self._fastest

        def new(part: Sequence[Sequence[int]]) -> Decoder:
            return new_decoder(
                fast,
                part,
                n_new=n_new,
                memory=memory(),
                sampling=self._sampling,
                share=self.shares_prefixes,
            )

        n_threads = torch.get_num_threads()
        # The weights of a spread network come and go: for one thread at a time.
        is_spread = hasattr(self._fastest, "hf_device_map")
        if n_threads == 1 or len(prompts) == 1 or not self._is_small or is_spread:
            return new(prompts)
        if self._threads is None:
            self._threads = one_core_threads(n_threads)
        return DividedDecoder(self._threads, n_threads, prompts, new)

    @property
    def _fastest(self) -> PreTrainedModel | FusedLlama:
        """The network in the form that answers fastest, loaded at the first call."""
        if self._fast is None:
            self._fast = (self._is_small and self._load_fused()) or self.network
        return self._fast

    def _load_fused(self) -> FusedLlama | None:
        """Return the fused form of a small network, if there is one."""
        return fused(self.network)

    @cached_property
    def _n_parameters(self) -> int:
        return self._count_parameters()

    @property
    def _is_small(self) -> bool:
        n_bytes = self._n_parameters * self._dtype.itemsize
        return self._device.type == "cpu" and n_bytes <= _SMALL_BYTES

    def _take(self, pending: Sequence[PendingPrompt]) -> Sequence[PendingPrompt]:
        kind = pending[0].thinks, pending[0].cluster.batch
        alike = [each for each in pending if (each.thinks, each.cluster.batch) == kind]
        longest = max(len(prompt.tokens) for prompt in alike)
        n_new = max(prompt.n_most for prompt in alike)
        n_rows = self._budget.rows(longest + n_new, pending[0].cluster.n_shared)
        batch = alike[: max(1, min(n_rows, len(alike)) // (self._other_batches + 1))]
        if takes_padding(self._fastest):
            return batch
        return [prompt for prompt in batch if len(prompt.tokens) == len(batch[0].tokens)]

    def _kept(self, tokens: list[int], n_new: int) -> list[int]:
        """Return as much of a prompt's end as lm-evaluation-harness sends, if it is asked so."""
        if not self._as_lm_eval or n_new < 1:
            return tokens
        if n_new >= self._n_lm_eval:
            raise UserError(
                f"{n_new} new tokens are asked for, and the model '{self._encoder.name}' can look "
                f"back {self._n_lm_eval}: there is no room for a prompt.",
                hint="Lower max_gen_toks in the task's generation_kwargs.",
            )
        return tokens[-(self._n_lm_eval - n_new) :]

    @cached_property
    def _n_lm_eval(self) -> int:
        """How many tokens lm-evaluation-harness takes the model to look back."""
        told = self.n_context or int(self.tokenizer.model_max_length)
        return told if told < _UNTOLD else _N_LM_EVAL

    def _room(self, n_before: int, n_wanted: int) -> int:
        if self.n_context is None:
            return n_wanted
        return min(n_wanted, self.n_context - n_before)

    def _not_finite(self, tokens: Sequence[int]) -> UserError:
        return not_finite(self.network, tokens, name=self._encoder.name)

    @cached_property
    def _budget(self) -> BatchBudget:
        """The size of batches, chosen by the memory that the weights have left."""
        fitting = default_budget(self.config, self._device, self._dtype.itemsize)
        return BatchBudget(self._batch_tokens) if self._batch_tokens else fitting

    def _end_tokens(self) -> frozenset[int]:
        """Return the end tokens of the generation configuration, else the tokenizer's."""
        found = getattr(self._fastest.generation_config, "eos_token_id", None)
        if found is None:
            found = self.tokenizer.eos_token_id
        return frozenset([found] if isinstance(found, int) else found or [])

    def _start_token(self) -> int:
        """Return what is sent instead of an empty prompt."""
        starts = (
            self.tokenizer.bos_token_id,
            self.tokenizer.eos_token_id,
            getattr(self._text_config, "bos_token_id", None),
        )
        return next((token for token in starts if isinstance(token, int)), 0)
