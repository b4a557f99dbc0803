"""Checks of arguments: a value out of range is a mistake that the message explains."""

from __future__ import annotations

import math
from collections.abc import Iterable

from palimpsest.errors import UserError, did_you_mean


def check_count(name: str, value: float) -> None:
    """Check that a value is a whole number of at least one.

    Raises:
        UserError: It is less, or no whole number.

    Example:
        >>> check_count("n_dims", 0)
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: n_dims is 0; it must be a whole number of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{name} is {value!r}; it must be a whole number of at least 1.")


def check_share(name: str, value: float) -> None:
    """Check that a number lies between 0 and 1, both included.

    Raises:
        UserError: It lies outside, or is not a number.
    """
    if not 0 <= value <= 1:
        raise UserError(f"{name} is {value:g}; it must lie between 0 and 1.")


def check_positive(name: str, value: float) -> None:
    """Check that a number is finite and above zero.

    Raises:
        UserError: It is not.
    """
    if not math.isfinite(value) or value <= 0:
        raise UserError(f"{name} is {value:g}; it must be more than zero, and finite.")


def check_not_negative(name: str, value: float) -> None:
    """Check that a number is finite and zero or above.

    Raises:
        UserError: It is not.
    """
    if not math.isfinite(value) or value < 0:
        raise UserError(f"{name} is {value:g}; it must be zero or more, and finite.")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Check that a name is one of those there are.

    Raises:
        UserError: It is not; the nearest one is named.
    """
    if value not in choices:
        raise UserError(
            f"{name} is '{value}'.{did_you_mean(str(value), choices)}",
            hint=f"It can be: {', '.join(choices)}.",
        )
