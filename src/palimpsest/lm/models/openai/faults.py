"""Faults of a request: those that pass, those of one prompt, and those that end the run."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from palimpsest.errors import UserError
from palimpsest.lm.models.openai.options import DEFAULT_KEY, EndpointOptions
from palimpsest.lm.models.openai.replies import ServerError

RETRIED = frozenset({408, 409, 425, 429}) | frozenset(range(500, 600)) - {501, 505}
"""Status codes that may be gone at the next attempt."""

LONGEST_WAIT_SECONDS = 60.0
"""Waits between attempts grow up to this, unless the server asks for more."""

_MOST_NAMED = 3
"""Kinds of faults that an error names, the last ones."""

_OUT_OF_MONEY = re.compile(r"insufficient_quota|billing|credit")
_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|maximum (model|context|sequence) length|(prompt|input) "
    r"(is|was) too long|too many (input )?tokens",
    re.IGNORECASE,
)


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


@dataclass(eq=False)
class UnanswerablePromptError(Exception):
    """A prompt that the server refuses for what it is: too long, or else against its rules."""

    too_long: bool


@dataclass(eq=False)
class RefusedError(Exception):
    """A request that the server refuses, whatever the prompt."""

    status: int
    error: ServerError


@dataclass(frozen=True)
class Backoff:
    """How long to wait: at random up to a bound that doubles, and never less than asked for."""

    first_seconds: float
    random: random.Random

    def seconds(self, n_failed: int, after_seconds: float | None) -> float:
        """Return the wait after the ``n_failed``-th failure in a row, counted from one.

        Full jitter (Brooker, "Exponential backoff and jitter", AWS 2015) spreads the clients
        that failed together; on top of a ``Retry-After`` it is at most a tenth of it.

        Example:
            >>> backoff = Backoff(0.5, random.Random(1))
            >>> backoff.seconds(3, None) <= 2.0, 10.0 <= backoff.seconds(1, 10.0) <= 11.0
            (True, True)
        """
        bound = min(LONGEST_WAIT_SECONDS, self.first_seconds * 2.0 ** min(n_failed - 1, 30))
        if after_seconds is None:
            return self.random.uniform(0.0, bound)
        return after_seconds + self.random.uniform(0.0, min(bound, after_seconds / 10))


def fault_of(status: int, error: ServerError, after_seconds: float | None) -> Exception:
    """Return what a reply with an error status means."""
    about = f"{error.code} {error.message}"
    if status in (400, 413, 422) and (_TOO_LONG.search(about) or status == 413):
        return UnanswerablePromptError(too_long=True)
    if status in (400, 422) and "content_filter" in error.code:
        return UnanswerablePromptError(too_long=False)
    if status not in RETRIED or (status == 429 and _OUT_OF_MONEY.search(error.code)):
        return RefusedError(status, error)
    what = f"status {status}: {error.message}" if error.message else f"status {status}"
    return PassingFault(what, after_seconds=after_seconds, status=status)


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
