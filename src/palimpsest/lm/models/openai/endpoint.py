"""Language model behind an OpenAI-compatible server."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from palimpsest.errors import UserError
from palimpsest.files import digest_json
from palimpsest.lm.models.budget import Budget
from palimpsest.lm.models.openai.faults import (
    RefusedError,
    UnanswerablePromptError,
    UnansweredPromptError,
    as_user_error,
)
from palimpsest.lm.models.openai.jobs import SessionJob, as_completed
from palimpsest.lm.models.openai.next_tokens import (
    TokenChance,
    TokenTable,
    next_token_request,
    parse_next_tokens,
)
from palimpsest.lm.models.openai.options import DEFAULT_KEY, NO_KEY, EndpointOptions
from palimpsest.lm.models.openai.replies import (
    Completion,
    Echo,
    continuation_logprob,
    has_continuation,
    parse_completion,
    parse_echo,
)
from palimpsest.lm.models.openai.requests import (
    Api,
    ApiRequest,
    Dialect,
    api_of,
    echo_request,
    generation_request,
)
from palimpsest.lm.models.openai.session import Account, Session
from palimpsest.lm.models.openai.wording import OfPrompt
from palimpsest.lm.models.protocol import (
    Decided,
    Generation,
    NextToken,
    ScoringUnavailableError,
)
from palimpsest.lm.models.sampling import DrawsAnswers
from palimpsest.lm.network import open_tls, proxy_of
from palimpsest.lm.prompts import Prompt, valid_unicode
from palimpsest.lm.stops import answer_start, end_of_answer
from palimpsest.specs import Spec

T = TypeVar("T")

_NO_SCORES = frozenset({400, 404, 405, 422, 501})
"""Status codes by which servers say that they do not give log-probabilities of a prompt."""

_PROBE = ("The cat sat on the", " mat")


class EndpointModel(DrawsAnswers):
    """A model behind ``/v1/chat/completions`` or ``/v1/completions``, asked greedily.

    Requests run in the background, several at a time, and are repeated after faults that may
    pass. The key is read from the environment for each call and kept nowhere.

    Args:
        spec: What the user wrote.
        options: The address and the options in it.

    Raises:
        UserError: There is no key, it cannot be sent safely, or the proxy cannot be used.
    """

    chat = False  # the template is the server's own

    def __init__(self, spec: Spec, options: EndpointOptions) -> None:
        self.spec = spec.text
        self.options = options
        self.account = Account()
        self._no_scores: ScoringUnavailableError | None = None
        self._can_score = False
        self._tokens = TokenTable()
        options.read_key()  # a missing key is told now, not after the first prompts,
        proxy_of(options.url)  # and so is a proxy that cannot be used

    @property
    def fingerprint(self) -> str:
        """A hash of address, model and the options that change answers, ``revision`` among them.

        The weights cannot be looked at: a server that changes them under the same name is told
        apart only by another ``revision``.
        """
        options = self.options
        facts: list[str | int | None] = [options.url, options.model, options.api]
        facts += [options.temperature, options.revision]
        if options.thinking_tokens:
            facts.append(options.thinking_tokens)
        template = [dict(options.template)] if options.template else []
        return digest_json(["openai", *facts, *template])

    def describe(self) -> Mapping[str, str]:
        """Say where the model is, what the server calls it, and what asking it took."""
        options, account = self.options, self.account
        sent_key = "none" if options.key_env == NO_KEY else options.key_env or DEFAULT_KEY
        facts = {
            "architecture": "not known: behind an endpoint",
            "weights": "not hashed; answers belong to this address, model and revision",
            "endpoint": options.url,
            "model": options.model,
            "api": options.api or "completions for text, chat for messages",
            "revision": options.revision or "not given",
            "temperature": options.temperature,
            "key variable": sent_key,
            "served as": ", ".join(sorted(account.models)) or "not said",
            "system fingerprint": ", ".join(sorted(account.system_fingerprints)) or "not said",
            "requests": f"{account.n_requests:,}, of which {account.n_faults:,} were repeated",
            "tokens": f"{account.n_prompt_tokens:,} of prompts, {account.n_new_tokens:,} new",
        }
        counts = {
            "prompts too long": account.n_too_long,
            "stopped by a content filter": account.n_filtered,
            "prompts refused": account.n_refused,
            "thoughts without an answer": account.n_thoughts,
        }
        facts |= {name: f"{count:,}" for name, count in counts.items() if count}
        if str(account.dialect):
            facts["asked with"] = str(account.dialect)
        if account.budget is not None:
            facts["cost"] = str(account.budget)
        return facts

    def charge_to(self, budget: Budget) -> None:
        """Charge every later request to ``budget``.

        Raises:
            UserError: The budget's table has no price for the model.
        """
        self.account.price = budget.prices.of(self.options.model, self.options.url)
        self.account.budget = budget

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        decided: Decided | None = None,
    ) -> Iterator[tuple[int, Generation]]:
        """Continue every prompt; yield each answer as it comes. ``decided`` is not asked.

        A prompt that is too long, filtered or refused while others are answered gets an empty
        answer that says so.

        Raises:
            UserError: The server refuses, or gives no answer within attempts, time and budget.
        """
        del decided  # replies come whole
        jobs = [self._generation(prompt, max_new_tokens, tuple(stop)) for prompt in prompts]
        return self._run(jobs, unanswered=Generation("", "refused", 0, 0.0))

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return natural-log probabilities, from ``/completions`` with ``echo`` and ``logprobs``.

        The first call finds out with a request of its own whether the server gives them, also
        where nothing is to be scored.

        Raises:
            ScoringUnavailableError: The server does not give them, or the prompts are messages.
            UserError: As for :meth:`generate`.
        """
        scores = [[0.0] * len(texts) for texts in candidates]
        places = [
            (row, column)
            for row, texts in enumerate(candidates)
            for column, text in enumerate(texts)
            if has_continuation(prompts[row], text)
        ]
        self._find_out_whether_it_scores()
        jobs = [self._scoring(prompts[row], candidates[row][column]) for row, column in places]
        for index, value in self._run(jobs, unanswered=-math.inf):
            row, column = places[index]
            scores[row][column] = value
        return scores

    def next_tokens(
        self, prompts: Sequence[Prompt], beginnings: Sequence[tuple[int, ...]], *, n: int
    ) -> list[list[NextToken]]:
        """Return the likeliest tokens after each prompt and beginning, as many as the server tells.

        A beginning is put behind the prompt as text. Chats cannot go on from one: none is told
        there, as where the server refuses the prompt.

        Raises:
            UserError: The server tells none, or as for :meth:`generate`.
        """
        found: list[list[NextToken]] = [[] for _ in prompts]
        apis = [api_of(prompt, self.options.api) for prompt in prompts]
        asked = [row for row, api in enumerate(apis) if api == "completions" or not beginnings[row]]
        jobs = [self._telling(prompts[row], beginnings[row], apis[row], n) for row in asked]
        nothing: Sequence[TokenChance] = ()
        for index, told in self._run(jobs, unanswered=nothing):
            row = asked[index]
            found[row] = [self._tokens.next(beginnings[row], each) for each in told]
        return found

    def check_tells(self, prompt: Prompt) -> None:
        """Ask once whether the server says which tokens may come next.

        Raises:
            UserError: It does not, or as for :meth:`generate`.
        """
        self.next_tokens([prompt], [()], n=self.account.dialect.most_logprobs)

    def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """Return ``None``: servers do not say before they are asked."""

    def vocabulary(self) -> frozenset[str] | None:
        """Return ``None``: servers keep it to themselves."""

    def close(self) -> None:
        """Do nothing: connections end with the call that opened them."""

    def _run(self, jobs: Sequence[SessionJob[T]], *, unanswered: T) -> Iterator[tuple[int, T]]:
        results = as_completed(
            jobs,
            open_session=self._session,
            concurrency=self.options.concurrency,
            unanswered=unanswered,
        )
        with closing(results):
            yield from results

    def _session(self) -> Session:
        return Session(
            self.options, key=self.options.read_key(), account=self.account, tls=self._tls
        )

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return open_tls(self.options.url)

    def _generation(
        self, prompt: Prompt, max_new_tokens: int, stop: tuple[str, ...]
    ) -> SessionJob[Generation]:
        api = api_of(prompt, self.options.api)
        most_tokens = max_new_tokens + self.options.thinking_tokens
        sampling = self._sampling

        def request(dialect: Dialect) -> ApiRequest:
            return generation_request(
                prompt,
                model=self.options.model,
                api=api,
                max_new_tokens=most_tokens,
                stop=stop,
                temperature=self.options.temperature,
                sampling=sampling,
                template=self.options.template,
                dialect=dialect,
            )

        async def generate(session: Session) -> Generation:
            started = time.monotonic()
            try:
                found = await self._complete(session, request, api)
            except RefusedError as refusal:
                raise self._unanswered(refusal, request(self.account.dialect).path) from None
            except UnanswerablePromptError as error:  # it must not end the run
                return self._unanswerable(error.why, time.monotonic() - started)
            self.account.n_filtered += found.finish == "filtered"
            self.account.n_thoughts += found.is_thought
            return _cut(found, stop, most_tokens, time.monotonic() - started)

        return generate

    async def _complete(
        self, session: Session, request: Callable[[Dialect], ApiRequest], api: Api
    ) -> Completion:
        """Return the answer to a request, asked for without stop strings if one ended a thought."""
        sent = request(self.account.dialect)

        def note(dialect: Dialect) -> ApiRequest:
            nonlocal sent
            sent = request(dialect)
            return sent

        def read(value: Mapping[str, object]) -> Completion:
            return parse_completion(value, api)

        found = await session.ask(note, read)
        if found.is_thought and found.finish == "stop" and "stop" in sent.body:
            self.account.dialect = replace(self.account.dialect, stops=False)
            found = await session.ask(note, read)
        return found

    def _unanswered(self, refusal: RefusedError, path: str) -> Exception:
        """Return how a refusal ends: the run if it is about the account, else the prompt."""
        error = as_user_error(refusal, self.options, path)
        return error if refusal.of_account else UnansweredPromptError(error)

    def _unanswerable(self, why: OfPrompt, seconds: float) -> Generation:
        self.account.n_too_long += why == "too long"
        self.account.n_filtered += why == "filtered"
        self.account.n_thoughts += why == "no room"
        if why == "filtered":
            return Generation("", "filtered", 0, seconds)
        return Generation("<think>" if why == "no room" else "", "length", 0, seconds)

    def _find_out_whether_it_scores(self) -> None:
        if self._no_scores is not None:
            raise ScoringUnavailableError(self._no_scores.message, hint=self._no_scores.hint)
        if not self._can_score:
            try:
                list(self._run([self._scoring(*_PROBE)], unanswered=-math.inf))
            except ScoringUnavailableError as error:
                self._no_scores = error
                raise
            self._can_score = True

    def _scoring(self, prompt: Prompt, candidate: str) -> SessionJob[float]:
        async def score(session: Session) -> float:
            if self.options.api == "chat" or not isinstance(prompt, str):
                raise self._unavailable("is asked by chat, which has no likelihoods of a prompt")
            text = valid_unicode(prompt + candidate)
            try:
                echo = await session.ask(
                    lambda dialect: echo_request(text, model=self.options.model), parse_echo
                )
            except RefusedError as refusal:
                error = as_user_error(refusal, self.options, "/completions")
                if self._can_score and not refusal.of_account:
                    raise UnansweredPromptError(error) from None
                if refusal.status in _NO_SCORES:
                    raise self._unavailable(f"says: {refusal.error.message}") from None
                raise error from None
            except UnanswerablePromptError:
                return -math.inf
            return self._summed(echo, valid_unicode(prompt), text)

        return score

    def _telling(
        self, prompt: Prompt, beginning: tuple[int, ...], api: Api, n: int
    ) -> SessionJob[Sequence[TokenChance]]:
        def request(dialect: Dialect) -> ApiRequest:
            return next_token_request(
                prompt,
                self._tokens.text(beginning),
                model=self.options.model,
                n=n,
                dialect=dialect,
                api=api,
                temperature=self.options.temperature,
                template=self.options.template,
            )

        async def tell(session: Session) -> Sequence[TokenChance]:
            try:
                told = await session.ask(request, parse_next_tokens)
            except RefusedError as refusal:
                raise self._unanswered(refusal, request(self.account.dialect).path) from None
            except UnanswerablePromptError:
                return ()
            if told is None:
                raise UserError(
                    f"'{self.options.model}' at {self.options.url} was asked for the likeliest "
                    "next tokens and did not tell any.",
                    hint="Use a server that honours logprobs, such as vLLM or llama.cpp's, or a "
                    "local hf: model; or leave out --inference.",
                )
            return told

        return tell

    def _summed(self, echo: Echo | None, prompt: str, text: str) -> float:
        if echo is None:
            raise self._unavailable("ignores echo and logprobs")
        value = continuation_logprob(echo, prompt, text[len(prompt) :])
        if value is None:
            raise self._unavailable("does not repeat the prompt with a probability of each token")
        return value

    def _unavailable(self, why: str) -> ScoringUnavailableError:
        return ScoringUnavailableError(
            f"How likely '{self.options.model}' finds given answers cannot be measured: "
            f"{self.options.url} {why}.",
            hint="Use a server that honours echo and logprobs on /v1/completions, such as vLLM; a "
            "local hf: model; or a suite that is scored by what the model says.",
        )


def _cut(found: Completion, stop: Sequence[str], most_tokens: int, seconds: float) -> Generation:
    """Return a server's text up to the first stop string behind the thought.

    The server may know only some of them.
    """
    end = end_of_answer(found.text, filter(None, stop))
    text = found.text[:end]
    n_tokens = found.n_tokens
    if n_tokens is None:  # four bytes a token, as English has in most vocabularies
        answer = text[len(text) if found.is_thought else answer_start(text) :]
        n_tokens = min(math.ceil(len(answer.encode("utf-8", "replace")) / 4), most_tokens)
    finish = found.finish if end is None else "stop"
    return Generation(text, finish, n_tokens, seconds, found.n_prompt_tokens)
