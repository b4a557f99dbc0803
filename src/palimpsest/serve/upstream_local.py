"""An upstream in this process: a local model, asked in small batches from a thread of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import NamedTuple

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm import Prompt
from palimpsest.lm.models import Generation, LanguageModel, load_model, parse_model_spec
from palimpsest.serve.errors import ApiError, bad_request, sentence
from palimpsest.serve.local_requests import (
    LocalRequest,
    choice,
    finish_reason,
    new_frame,
    parse_local,
    part,
    usage_of,
)
from palimpsest.serve.settings import ServeSettings
from palimpsest.serve.upstream import Body, Endpoint, Streamed, WholeAnswer

_PATH = re.compile(r"'/[^']*'")

_GATHER_SECONDS = 0.005
"""How long the first prompt of a batch waits for others."""


class _Said(NamedTuple):
    """What a prompt's answer has grown to."""

    text: str
    generation: Generation | None = None
    """Set once it is finished."""
    error: ApiError | None = None


@dataclass(eq=False)
class _Job:
    """One prompt on its way to the model and back."""

    prompt: Prompt
    max_new_tokens: int
    stop: tuple[str, ...]
    streamed: bool
    """Whether somebody wants to see the answer grow."""
    said: asyncio.Queue[_Said] = field(default_factory=asyncio.Queue)
    abandoned: bool = False
    """Whether nobody waits for the answer any more: read by the model's thread at each token."""

    @property
    def kind(self) -> tuple[int, tuple[str, ...]]:
        """Jobs of one kind can be asked in one batch."""
        return self.max_new_tokens, self.stop


class LocalUpstream:
    """Serves one model by its spec; the weights come into memory with the first request.

    Prompts that arrive together are asked together. Answers are greedy.

    Args:
        settings: Of the server; ``upstream`` is the spec.
        model: Used instead of opening the spec.

    Raises:
        UserError: There is no such model.
    """

    def __init__(self, settings: ServeSettings, model: LanguageModel | None = None) -> None:
        self._model = load_model(settings.upstream) if model is None else model
        self.name = settings.name or _name_of(settings.upstream)
        self._max_batch = settings.max_batch
        self._max_waiting = settings.max_concurrent
        self._waiting: list[_Job] = []
        self._asked: list[_Job] = []
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="palimpsest-model")
        self._created = int(time())

    async def models(self) -> list[Body]:
        """Return the one model that there is."""
        return [
            {
                "id": self.name,
                "object": "model",
                "created": self._created,
                "owned_by": "palimpsest",
            }
        ]

    async def complete(self, endpoint: Endpoint, body: Body) -> WholeAnswer:
        """Answer in one piece."""
        request = self._parse(endpoint, body)
        jobs = self._submit(request, streamed=False)
        try:
            generations = [await self._finished(job) for job in jobs]
        finally:
            _abandon(jobs)
        answers = [each for each in generations for _ in range(request.n)]
        return WholeAnswer(
            {
                **new_frame(endpoint, self.name, stream=False),
                "choices": [
                    choice(endpoint, index, each.text, finish_reason(each))
                    for index, each in enumerate(answers)
                ],
                "usage": usage_of(generations),
            },
            {},
        )

    @asynccontextmanager
    async def stream(self, endpoint: Endpoint, body: Body) -> AsyncIterator[Streamed]:
        """Answer piece by piece; leaving the context makes the model stop at its next token."""
        request = self._parse(endpoint, body)
        jobs = self._submit(request, streamed=True)
        try:
            yield Streamed(self._chunks(endpoint, request, jobs), {})
        finally:
            _abandon(jobs)

    def relay(self, endpoint: Endpoint, content: bytes) -> None:
        """Return nothing: answers are made here."""

    async def aclose(self) -> None:
        """Free the model once its thread is done."""
        _abandon([*self._waiting, *self._asked])
        if self._worker is not None:
            await asyncio.gather(self._worker, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)
        self._model.close()

    def _parse(self, endpoint: Endpoint, body: Body) -> LocalRequest:
        name = body.get("model")
        if name != self.name:
            raise ApiError(
                404,
                f"No model named '{name}'.{did_you_mean(str(name), [self.name])} This server has "
                f"'{self.name}'.",
                param="model",
                code="model_not_found",
            )
        return parse_local(endpoint, body)

    def _submit(self, request: LocalRequest, *, streamed: bool) -> list[_Job]:
        if self._waiting and len(self._waiting) + len(request.prompts) > self._max_waiting:
            raise ApiError(
                503, "Too many prompts are waiting for the model.", headers={"Retry-After": "1"}
            )
        jobs = [
            _Job(each, request.max_new_tokens, request.stop, streamed) for each in request.prompts
        ]
        self._waiting += jobs
        if self._worker is None or self._worker.done():
            self._worker = asyncio.ensure_future(self._work())
        return jobs

    async def _work(self) -> None:
        """Ask batch after batch until nothing waits."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(_GATHER_SECONDS)
        while self._waiting:
            self._asked = self._take()
            if self._asked:
                await loop.run_in_executor(self._thread, self._ask, loop, self._asked)

    def _take(self) -> list[_Job]:
        """Take the first that waits, and those after it that can be asked along with it."""
        self._waiting = [job for job in self._waiting if not job.abandoned]
        if not self._waiting:
            return []
        kind = self._waiting[0].kind
        batch = [job for job in self._waiting if job.kind == kind][: self._max_batch]
        self._waiting = [job for job in self._waiting if job not in batch]
        return batch

    def _ask(self, loop: asyncio.AbstractEventLoop, batch: Sequence[_Job]) -> None:
        """Ask the model; runs in its thread, and never raises."""

        def tell(job: _Job, said: _Said) -> None:
            loop.call_soon_threadsafe(job.said.put_nowait, said)

        def decided(index: int, text: str) -> bool:
            job = batch[index]
            if job.streamed and not job.abandoned:
                tell(job, _Said(text))
            return job.abandoned

        try:
            for index, generation in self._model.generate(
                [job.prompt for job in batch],
                max_new_tokens=batch[0].max_new_tokens,
                stop=batch[0].stop,
                decided=decided,
            ):
                tell(batch[index], _Said(generation.text, generation))
        except UserError as error:
            if len(batch) > 1:  # one prompt may have spoiled it for all
                for job in batch:
                    self._ask(loop, [job])
                return
            message = _PATH.sub(f"'{self.name}'", sentence(error))  # clients need not know where
            tell(batch[0], _Said("", error=bad_request(message, code="model_refuses")))
        except Exception as error:
            failed = ApiError(
                500, f"The model failed: {type(error).__name__}.", code="model_failed"
            )
            for job in batch:
                tell(job, _Said("", error=failed))

    async def _finished(self, job: _Job) -> Generation:
        while True:
            said = await job.said.get()
            if said.error is not None:
                raise said.error
            if said.generation is not None:
                return said.generation

    async def _chunks(
        self, endpoint: Endpoint, request: LocalRequest, jobs: Sequence[_Job]
    ) -> AsyncIterator[Body]:
        frame = new_frame(endpoint, self.name, stream=True)
        generations = []
        for place, job in enumerate(jobs):
            indices = range(place * request.n, (place + 1) * request.n)
            n_said, generation = 0, None
            while generation is None:
                text, generation, error = await job.said.get()
                if error is not None:
                    raise error
                new = text[n_said:]
                n_said = max(n_said, len(text))
                if new:
                    yield {**frame, "choices": [part(endpoint, index, new) for index in indices]}
            generations.append(generation)
            reason = finish_reason(generation)
            ends = [part(endpoint, index, "", reason) for index in indices]
            yield {**frame, "choices": ends}
        usage = usage_of(generations)
        if usage is not None:
            yield {**frame, "choices": [], "usage": usage}


def _abandon(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        job.abandoned = True


def _name_of(spec: str) -> str:
    """Return a short name for a model: the last part of a path, or the spec without options.

    Example:
        >>> _name_of("hf:./runs/tuned,dtype=bfloat16"), _name_of("rosetta:tuned")
        ('tuned', 'rosetta:tuned')
    """
    parsed = parse_model_spec(spec)
    if parsed.name == "hf":
        return Path(parsed.target).name or parsed.target
    if parsed.name == "scripted":
        return Path(parsed.target).stem
    return f"{parsed.name}:{parsed.target}"
