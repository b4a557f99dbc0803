"""Faults of a request: those that pass, those of one prompt, and those that end the run."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from palimpsest.errors import UserError
from palimpsest.lm.models.openai.options import DEFAULT_KEY, EndpointOptions
from palimpsest.lm.models.openai.replies import ServerError
from palimpsest.lm.models.openai.wording import OfPrompt, told_of_prompt
from palimpsest.lm.network import LONGEST_WAIT_SECONDS

RETRIED = frozenset({408, 409, 425, 429}) | frozenset(range(500, 600)) - {501, 505}
"""Status codes that may be gone at the next attempt."""

LONGEST_BACKOFF_SECONDS = 60.0
"""Waits between attempts grow up to this, unless the server asks for more."""

_MOST_NAMED = 3
"""Kinds of faults that an error names, the last ones."""

_OUT_OF_MONEY = ("insufficient_quota", "billing", "credit")
_OF_ACCOUNT = frozenset({401, 402, 404, 405, 429}) | frozenset(range(300, 400))
"""Refusals of these are about the key, the address or the account, whatever the prompt."""


@dataclass(eq=False)
class PassingFault(Exception):  # noqa: N818 - a fault is what it is, retried before it is an error
    """A fault that may be gone at the next attempt."""

    what: str
    """What happened, for messages."""

    after_seconds: float | None = None
    """When the server wants to be asked again."""

    status: int | None = None
    """The HTTP status, if there was one."""

    answered: bool = False
    """Whether the server may have computed an answer, which can cost money."""

    of_prompt: bool = False
    """Whether this prompt may be what the server fails at: it replied, and not as it should."""


@dataclass(eq=False)
class UnanswerablePromptError(Exception):
    """A prompt that gets no answer for what it is: too long, or against the server's rules."""

    why: OfPrompt


@dataclass(eq=False)
class UnansweredPromptError(Exception):
    """A prompt that got no answer, whether or not others do."""

    error: UserError
    """What ends the run if no prompt gets one."""


@dataclass(eq=False)
class RefusedError(Exception):
    """A request that the server refuses, for a reason of its own."""

    status: int
    error: ServerError

    @property
    def of_account(self) -> bool:
        """Whether every request would be refused: the key, the address or the money is wrong."""
        return self.status in _OF_ACCOUNT


@dataclass(frozen=True)
class Backoff:
    """How long to wait: at random up to a bound that doubles, and never less than asked for."""

    first_seconds: float
    random: random.Random

    def seconds(self, n_failed: int, after_seconds: float | None) -> float:
        """Return the wait after the ``n_failed``-th failure in a row, counted from one.

        Full jitter (Brooker, "Exponential backoff and jitter", AWS 2015) spreads the clients
        that failed together; on top of a ``Retry-After`` it is at most a tenth of it. No server
        is waited for longer than :data:`~palimpsest.lm.network.LONGEST_WAIT_SECONDS`.

        Example:
            >>> backoff = Backoff(0.5, random.Random(1))
            >>> backoff.seconds(3, None) <= 2.0, 10.0 <= backoff.seconds(1, 10.0) <= 11.0
            (True, True)
        """
        bound = min(LONGEST_BACKOFF_SECONDS, self.first_seconds * 2.0 ** min(n_failed - 1, 30))
        if after_seconds is None:
            return self.random.uniform(0.0, bound)
        after_seconds = min(after_seconds, LONGEST_WAIT_SECONDS)
        return after_seconds + self.random.uniform(0.0, min(bound, after_seconds / 10))


def fault_of(status: int, error: ServerError, after_seconds: float | None = None) -> Exception:
    """Return what a reply with an error status means."""
    refused = RefusedError(status, error)
    why = None if refused.of_account and status != 429 else told_of_prompt(error.said)
    if why is not None or status == 413:
        return UnanswerablePromptError(why or "too long")
    out_of_money = status == 429 and any(word in error.code for word in _OUT_OF_MONEY)
    unsupported = status == 500 and ("not support" in error.said or "unsupported" in error.said)
    if status not in RETRIED or out_of_money or unsupported:
        return refused
    what = f"status {status}: {error.message}" if error.message else f"status {status}"
    return PassingFault(what, after_seconds, status, of_prompt=status == 500)


def fault_under_ok(what: str, error: ServerError | None) -> Exception:
    """Return what a reply with status 200 means that is none; the error may have a status."""
    if error is not None:
        code = error.code.partition(" ")[0]
        fault = fault_of(int(code) if code in _STATUSES else 500, error)
        if not isinstance(fault, PassingFault):
            return fault
    return PassingFault(what, answered=True, of_prompt=True)


_STATUSES = frozenset(map(str, range(400, 600)))


def as_user_error(fault: RefusedError, options: EndpointOptions, path: str) -> UserError:
    """Return a refusal with what to do about it."""
    said = f" The server says: {fault.error.message}" if fault.error.message else ""
    return UserError(
        f"{options.url}{path} refused the request with status {fault.status}.{said}",
        hint=_advice(fault, options, path),
    )


def gave_up(
    faults: Sequence[PassingFault], options: EndpointOptions, path: str, *, seconds: float
) -> UserError:
    """Return the error for a prompt whose attempts or whose time are used up."""
    # Servers cut connections after an error of their own: what they said of it tells more.
    fault = next((one for one in reversed(faults) if one.status is not None), faults[-1])
    if fault.after_seconds is not None and fault.after_seconds > options.patience - seconds:
        hint = (
            f"The server wants to be asked again in {fault.after_seconds:.0f} s. Answers so far "
            "are kept: run the same command then, or raise patience=."
        )
    elif fault.status == 429:
        hint = (
            f"Lower concurrency={options.concurrency}. Answers so far are kept: the same command "
            "continues."
        )
    elif fault.status == 500 and path.startswith("/chat"):
        hint = (
            "See the server's log. A model without a chat template cannot answer messages: then "
            "use api=completions."
        )
    else:
        hint = (
            "Is the server running, and reachable? Answers so far are kept: the same command "
            "continues."
        )
    attempts = "1 attempt" if len(faults) == 1 else f"{len(faults)} attempts"
    kinds = list(dict.fromkeys(one.what.rstrip(".") for one in reversed(faults)))[:_MOST_NAMED]
    return UserError(
        f"{options.url}{path} gave no answer in {attempts} and {seconds:.0f} s. Last came "
        f"{', before it '.join(kinds)}.",
        hint=hint,
    )


def _advice(fault: RefusedError, options: EndpointOptions, path: str) -> str:
    message = fault.error.message.lower()
    variable = options.key_env or DEFAULT_KEY
    if fault.status in (401, 403):
        return f"Put a valid key into {variable}, or name another variable with key_env=NAME."
    if 300 <= fault.status < 400:
        return "Write the address that it redirects to; keys are not sent on to another one."
    if fault.status == 429:
        return "The account has no credit left; answers so far are kept."
    if "temperature" in message:
        return "The model cannot be asked greedily. With temperature=default it says what it likes."
    if path == "/completions" and ("chat" in message or fault.status in (404, 405)):
        return (
            f"Is '{options.model}' a name that {options.url}/models lists? Models that only chat "
            "need api=chat."
        )
    advice: Mapping[int, str] = {
        402: "The account has no credit left; answers so far are kept.",
        404: f"Is '{options.model}' a name that {options.url}/models lists, and the URL complete?",
    }
    return advice.get(fault.status, "Check the name of the model and the options; see its log.")
