"""Requests to one endpoint, in an event loop in the background.

They share connections, pauses, a budget and what has been learnt of the server.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TypeVar

import httpx

from palimpsest.errors import UserError
from palimpsest.lm.models.budget import Budget, Price
from palimpsest.lm.models.openai.faults import (
    Backoff,
    PassingFault,
    RefusedError,
    UnanswerablePromptError,
    UnansweredPromptError,
    fault_of,
    fault_under_ok,
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
from palimpsest.lm.models.openai.wording import sounds_too_long
from palimpsest.lm.network import (
    LONGEST_WAIT_SECONDS,
    BoundedReply,
    WrongBodyError,
    fetch,
    open_client,
    retry_after,
)

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
    n_answered: int = 0
    """Prompts that got an answer."""
    n_refused: int = 0
    """Prompts that got none while others did."""
    n_thoughts: int = 0
    """Answers that ended within the thought before them."""
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
        n_prompt, n_new, _ = token_counts(value)
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
            "Content-Type": "application/json",
            "User-Agent": f"palimpsest/{version('palimpsest-lm')}",
        }
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self._http = open_client(
            options.url,
            headers=headers,
            tls=tls,
            timeout=httpx.Timeout(options.timeout, connect=min(_CONNECT_SECONDS, options.timeout)),
            limits=httpx.Limits(
                max_connections=options.concurrency, max_keepalive_connections=options.concurrency
            ),
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
            RefusedError: The server refuses it, also in other words.
            UnanswerablePromptError: The server refuses the prompt for what it is.
            UnansweredPromptError: The server fails at it again and again.
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
                learnt = self._learnt(dialect, refusal)
                if self.account.dialect == dialect:
                    self.account.dialect = learnt
            except PassingFault as fault:
                faults.append(fault)
                self.account.n_faults += 1
                seconds = time.monotonic() - started
                wait = self._backoff.seconds(len(faults), fault.after_seconds)
                used_up = len(faults) >= self._most_attempts(fault)
                if used_up or seconds + wait > self.options.patience:
                    error = gave_up(faults, self.options, request.path, seconds=seconds)
                    of_prompt = all(fault.of_prompt for fault in faults)
                    raise (UnansweredPromptError(error) if of_prompt else error) from None
                if fault.status == 429 and fault.after_seconds is not None:  # it means everyone
                    resume = time.monotonic() + min(fault.after_seconds, LONGEST_WAIT_SECONDS)
                    self._paused_until = max(self._paused_until, resume)
                await self._sleep(wait)

    @staticmethod
    def _learnt(dialect: Dialect, refusal: RefusedError) -> Dialect:
        """Return in which dialect to ask again.

        Raises:
            RefusedError: The refusal is about nothing that could be said otherwise.
            UnanswerablePromptError: It seems to be about the prompt's length.
        """
        if refusal.of_account:
            raise refusal
        learnt = dialect.after_refusal(refusal.error.param, refusal.error.said)
        if learnt is None and sounds_too_long(refusal.error.said):
            raise UnanswerablePromptError("too long") from None
        if learnt is None:
            raise refusal
        return learnt

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
            raise fault_under_ok(str(error), error.error) from error
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
                    charge.settle(*token_counts(value)[:2])
                    return value
            await self._sleep(_BUDGET_POLL_SECONDS)

    async def _post(self, request: ApiRequest) -> Mapping[str, object]:
        self.account.n_requests += 1
        try:
            status, headers, data = await self._exchange(request)
        except WrongBodyError as error:
            raise PassingFault(str(error), answered=True, of_prompt=True) from error
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
                raise fault_under_ok(str(error), error.error) from error
        said = server_error(data, self._key)
        if "location" in headers:
            place = shown(redacted(headers["location"], self._key))
            said = ServerError(f"go to {place}", None, "", "")
        raise fault_of(status, said, retry_after(headers.get("retry-after"), time.time()))

    async def _exchange(self, request: ApiRequest) -> BoundedReply:
        return await fetch(
            self._http,
            "POST",
            self.options.url + request.path,
            content=json.dumps(request.body).encode(),
            most_bytes=LARGEST_REPLY_BYTES,
            seconds=self.options.timeout,
        )

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
