"""Requests to one endpoint, in an event loop in the background.

They share connections, pauses, a budget and what has been learnt of the server.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from queue import SimpleQueue
from typing import TypeVar

import httpx

from palimpsest.errors import UserError
from palimpsest.lm.models.budget import Budget, Price
from palimpsest.lm.models.openai.faults import (
    Backoff,
    PassingFault,
    RefusedError,
    fault_of,
    gave_up,
)
from palimpsest.lm.models.openai.options import EndpointOptions
from palimpsest.lm.models.openai.replies import (
    ServerError,
    WrongReplyError,
    parse_json,
    redacted,
    server_error,
    shown,
    token_counts,
)
from palimpsest.lm.models.openai.requests import ApiRequest, Dialect
from palimpsest.lm.network import retry_after

T = TypeVar("T")

LARGEST_REPLY_BYTES = 16 * 2**20
"""More than any answer needs; longer replies are cut off and count as faults."""

_CONNECT_SECONDS = 10.0
_FIRST_CONTACT_ATTEMPTS = 3
"""Attempts while nothing has ever answered: the address may simply be wrong."""
_BUDGET_POLL_SECONDS = 0.02


@dataclass
class Account:
    """What one endpoint has been found to be and to cost, over all calls."""

    dialect: Dialect = field(default_factory=Dialect)
    n_requests: int = 0
    """Requests sent."""
    n_faults: int = 0
    """Requests that failed and were repeated."""
    n_too_long: int = 0
    """Prompts that the server found too long."""
    n_filtered: int = 0
    """Prompts or answers that a content filter of the server stopped."""
    n_prompt_tokens: int = 0
    n_new_tokens: int = 0
    models: set[str] = field(default_factory=set)
    """What the server calls the model."""
    system_fingerprints: set[str] = field(default_factory=set)
    """What the server says of its configuration."""
    reached: bool = False
    """Whether the server has ever answered anything."""
    budget: Budget | None = None
    price: Price | None = None

    def note(self, value: Mapping[str, object]) -> None:
        """Remember what a reply says besides the answer."""
        n_prompt, n_new = token_counts(value)
        self.n_prompt_tokens += n_prompt or 0
        self.n_new_tokens += n_new or 0
        for name, known in (
            ("model", self.models),
            ("system_fingerprint", self.system_fingerprints),
        ):
            fact = value.get(name)
            if isinstance(fact, str) and fact and len(known) < 10:
                known.add(shown(fact))


class Stopped(Exception):  # noqa: N818 - no error: another prompt's failure ended the run
    """No further attempt is made, since the run ends."""


class Session:
    """Requests to one endpoint from one event loop.

    Args:
        options: The endpoint.
        key: Sent as a bearer token.
        account: Shared by all sessions of an endpoint.
        tls: For ``https``; made once, as it takes longer than a request.
    """

    def __init__(
        self,
        options: EndpointOptions,
        *,
        key: str | None,
        account: Account,
        tls: ssl.SSLContext,
    ) -> None:
        self.options = options
        self.account = account
        self.stopping = asyncio.Event()
        self._key = key
        self._backoff = Backoff(options.backoff, random.Random())
        self._paused_until = 0.0
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # a small reply cannot unpack into a large one
            "Content-Type": "application/json",
            "User-Agent": f"palimpsest/{version('palimpsest-lm')}",
        }
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx.AsyncClient(
            headers=headers,
            verify=tls,
            timeout=httpx.Timeout(options.timeout, connect=min(_CONNECT_SECONDS, options.timeout)),
            limits=httpx.Limits(
                max_connections=options.concurrency, max_keepalive_connections=options.concurrency
            ),
            trust_env=not options.is_local,  # a proxy cannot reach this machine's loopback
            follow_redirects=False,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(
        self, build: Callable[[Dialect], ApiRequest], read: Callable[[Mapping[str, object]], T]
    ) -> T:
        """Send a request until its reply can be read.

        Args:
            build: Makes the request in the dialect that the server is known to speak.
            read: Takes the reply apart; a :class:`WrongReplyError` of it means another attempt.

        Raises:
            RefusedError: The server refuses it.
            UnanswerablePromptError: The server refuses the prompt.
            UserError: Attempts, time or money are used up.
            Stopped: The run ends before the next attempt.
        """
        started = time.monotonic()
        faults: list[PassingFault] = []
        while True:
            await self._sleep(self._paused_until - time.monotonic())
            dialect = self.account.dialect
            request = build(dialect)
            try:
                return self._read(await self._charged(request), read)
            except RefusedError as refusal:
                learnt = dialect.after_refusal(refusal.error.param, refusal.error.message)
                if learnt is None:
                    raise
                if self.account.dialect == dialect:
                    self.account.dialect = learnt
            except PassingFault as fault:
                faults.append(fault)
                self.account.n_faults += 1
                seconds = time.monotonic() - started
                wait = self._backoff.seconds(len(faults), fault.after_seconds)
                used_up = len(faults) >= self._most_attempts(fault)
                if used_up or seconds + wait > self.options.patience:
                    raise gave_up(faults, self.options, request.path, seconds=seconds) from None
                if fault.status == 429 and fault.after_seconds is not None:  # it means everyone
                    resume = time.monotonic() + fault.after_seconds
                    self._paused_until = max(self._paused_until, resume)
                await self._sleep(wait)

    def _most_attempts(self, fault: PassingFault) -> int:
        known = self.account.reached or fault.status is not None or fault.answered
        return (
            self.options.attempts if known else min(_FIRST_CONTACT_ATTEMPTS, self.options.attempts)
        )

    async def _sleep(self, seconds: float) -> None:
        """Wait, unless the run ends."""
        if seconds > 0:
            try:
                await asyncio.wait_for(self.stopping.wait(), seconds)
            except TimeoutError:
                return
        if self.stopping.is_set():
            raise Stopped

    def _read(self, value: Mapping[str, object], read: Callable[[Mapping[str, object]], T]) -> T:
        try:
            result = read(value)
        except WrongReplyError as error:
            raise PassingFault(str(error), answered=True) from error
        self.account.note(value)
        return result

    async def _charged(self, request: ApiRequest) -> Mapping[str, object]:
        budget, price = self.account.budget, self.account.price
        if budget is None or price is None:
            return await self._post(request)
        while True:
            worst = (request.most_prompt_tokens, request.most_new_tokens)
            with budget.reserving(price, *worst) as charge:
                if charge is not None:
                    try:
                        value = await self._post(request)
                    except asyncio.CancelledError:
                        charge.settle(None, None)
                        raise
                    except PassingFault as fault:
                        if fault.answered:  # the answer may have been made, and then lost
                            charge.settle(None, None)
                        raise
                    charge.settle(*token_counts(value))
                    return value
            await self._sleep(_BUDGET_POLL_SECONDS)

    async def _post(self, request: ApiRequest) -> Mapping[str, object]:
        self.account.n_requests += 1
        try:
            # httpx limits each read; only a limit on the whole stops a server that drips.
            async with asyncio.timeout(self.options.timeout):
                status, headers, data = await self._exchange(request)
        except (TimeoutError, httpx.TimeoutException) as error:
            slow_start = isinstance(error, httpx.ConnectTimeout)
            what = "no connection" if slow_start else "no full reply"
            raise PassingFault(
                f"{what} within {self.options.timeout:g} s", answered=not slow_start
            ) from error
        except httpx.RequestError as error:
            raise self._cut(error) from error
        self.account.reached = True
        if status == httpx.codes.OK:
            try:
                return parse_json(data, self._key)
            except WrongReplyError as error:
                raise PassingFault(str(error), answered=True) from error
        said = server_error(data, self._key)
        if "location" in headers:
            place = shown(redacted(headers["location"], self._key))
            said = ServerError(f"go to {place}", None, "")
        raise fault_of(status, said, retry_after(headers.get("retry-after"), time.time()))

    async def _exchange(self, request: ApiRequest) -> tuple[int, httpx.Headers, bytes]:
        content = json.dumps(request.body).encode()
        url = self.options.url + request.path
        async with self._http.stream("POST", url, content=content) as response:
            data = bytearray()
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > LARGEST_REPLY_BYTES:
                    most = LARGEST_REPLY_BYTES // 2**20
                    raise PassingFault(f"a reply of more than {most} MiB", answered=True)
            return response.status_code, response.headers, bytes(data)

    def _cut(self, error: httpx.RequestError) -> Exception:
        why = shown(str(error)) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in why:
            return UserError(
                f"The certificate of {self.options.url} is not to be trusted: {why}",
                hint="Check the address; for a certificate of your own, set SSL_CERT_FILE.",
            )
        if isinstance(error, httpx.ConnectError | httpx.ProxyError | httpx.UnsupportedProtocol):
            return PassingFault(f"no connection: {why}")
        return PassingFault(f"the connection was cut: {why}", answered=True)


SessionJob = Callable[[Session], Awaitable[T]]
"""One prompt's requests, given the session to make them in."""


def as_completed(
    jobs: Sequence[SessionJob[T]], *, open_session: Callable[[], Session], concurrency: int
) -> Generator[tuple[int, T]]:
    """Yield ``(index, result)`` of all jobs, at most ``concurrency`` of them at a time.

    The loop runs in a thread, so that this works in programs that have a loop of their own. A job
    starts only when a result has been taken for each that is ahead of it by ``concurrency``: what
    a kill can lose is bounded by that. When a job fails, no new one starts, requests under way
    may finish and are yielded, and then its error is raised. Closing the generator cancels them.
    """
    if not jobs:
        return
    outbox: SimpleQueue[tuple[int, T] | None] = SimpleQueue()
    free = asyncio.Semaphore(concurrency)
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    loop = runner.get_loop()
    task = loop.create_task(_work(jobs, open_session, free, concurrency, outbox.put))
    task.add_done_callback(lambda _: outbox.put(None))

    def run() -> None:
        with runner, suppress(BaseException):  # what the task raises, the caller is told
            loop.run_until_complete(task)

    def call(function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(function)

    thread = threading.Thread(target=run, name="endpoint", daemon=True)
    thread.start()
    try:
        while (item := outbox.get()) is not None:
            call(free.release)  # the next job may start
            yield item
        if (error := task.result()) is not None:
            raise error
    finally:
        call(task.cancel)
        thread.join()


async def _work(
    jobs: Sequence[SessionJob[T]],
    open_session: Callable[[], Session],
    free: asyncio.Semaphore,
    concurrency: int,
    give: Callable[[tuple[int, T]], None],
) -> Exception | None:
    """Give the results of all jobs; return the error of the first that failed, if one did."""
    waiting = iter(enumerate(jobs))
    errors: list[Exception] = []

    async def one_after_the_other(session: Session) -> None:
        while not session.stopping.is_set():
            await free.acquire()
            index, job = next(waiting, (-1, None))
            if job is None or session.stopping.is_set():
                break
            try:
                give((index, await job(session)))
            except Stopped:
                break
            except Exception as error:
                errors.append(error)
                session.stopping.set()
        free.release()  # another worker may be waiting to see the end

    async with aclosing(open_session()) as session, asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(jobs))):
            group.create_task(one_after_the_other(session))
    return errors[0] if errors else None
