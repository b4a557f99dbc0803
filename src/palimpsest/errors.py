"""Errors that a user can act on: what happened, what was expected, what to do next."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

MOST_SHOWN = 5
"""How many mistakes of a file a message lists."""

UPGRADE = (
    "Upgrade Palimpsest (`git pull` in a checkout, or a newer wheel), or choose another --out."
)

_DISTRIBUTION = "palimpsest-lm"


class UserError(Exception):
    """A mistake the user can mend; the command line prints the message and exits 2.

    Args:
        message: What happened, with the offending value, and what was expected.
        hint: The next step, printed on a line of its own.

    Example:
        >>> print(UserError("No file 'a.jsonl'.", hint="Check the path."))
        No file 'a.jsonl'.
        Check the path.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class Terminated(BaseException):
    """SIGTERM came, and what is worth keeping is kept; as KeyboardInterrupt is for Ctrl-C."""


class MissingExtraError(UserError):
    """An optional dependency is absent; the message names the command that installs it.

    Example:
        >>> print(MissingExtraError("LoRA adapters", package="peft", extra="peft"))
        LoRA adapters need the package 'peft', which is not installed.
        Install it with: pip install 'peft>=0.18'
    """

    def __init__(self, feature: str, *, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} need the package '{package}', which is not installed.",
            hint=f"Install it with: {install_command(extra)}",
        )


@contextmanager
def from_extra(feature: str, *, package: str, extra: str) -> Iterator[None]:
    """Say which extra is missing where a block's imports fail for want of its package.

    Raises:
        MissingExtraError: The package is not installed; what it lacks itself is raised as it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise MissingExtraError(feature, package=package, extra=extra) from error


def install_command(extra: str) -> str:
    """Return the command that installs what an extra of this package needs.

    It names the packages themselves, so that it also works for a checkout, and where no index has
    Palimpsest.

    Example:
        >>> install_command("serve")
        "pip install 'starlette>=0.50' 'uvicorn>=0.38'"
    """
    from importlib.metadata import PackageNotFoundError, requires

    try:
        needed = requires(_DISTRIBUTION) or ()
    except PackageNotFoundError:  # the source alone, on the path
        needed = ()
    marked = re.compile(rf"extra == ['\"]{re.escape(extra)}['\"]")
    packages = [need.partition(";")[0].strip() for need in needed if marked.search(need)]
    return " ".join(["pip install", *(f"'{package}'" for package in packages or [f".[{extra}]"])])


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a sentence with the nearest name, after a space; nothing if none is near.

    Example:
        >>> did_you_mean("lables", ["labels", "urls"])
        " Did you mean 'labels'?"
        >>> did_you_mean("x", ["labels", "urls"])
        ''
    """
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def raise_mistakes(mistakes: Sequence[str], *, hint: str) -> None:
    """Raise :class:`UserError` with the first few mistakes of a file, if there are any.

    Whatever a terminal would act on, or fail to show, is escaped.

    Example:
        >>> raise_mistakes(["a.txt, line 1: empty."], hint="Fill it in.")
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: a.txt, line 1: empty.
        Fill it in.
    """
    if not mistakes:
        return
    more = len(mistakes) - MOST_SHOWN
    lines = [*mistakes[:MOST_SHOWN], *([f"… and {more} more."] if more > 0 else [])]
    raise UserError("\n".join(map(_printable, lines)), hint=hint)


def _printable(text: str) -> str:
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
