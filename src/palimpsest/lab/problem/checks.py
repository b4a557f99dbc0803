"""Which values the laboratory takes; anything else is a mistake that the message explains."""

from __future__ import annotations

import math

from palimpsest.errors import UserError


def check_count(name: str, value: float) -> int:
    """Return a whole number that is at least one.

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
    return value


def check_share(name: str, value: float) -> float:
    """Return a number between 0 and 1, both included.

    Raises:
        UserError: It lies outside, or is not a number.
    """
    if not 0 <= value <= 1:
        raise UserError(f"{name} is {value:g}; it must lie between 0 and 1.")
    return float(value)


def check_std(name: str, value: float, *, zero_allowed: bool) -> float:
    """Return a standard deviation: finite and not negative.

    Raises:
        UserError: It is negative, infinite, not a number, or zero where that is not allowed.
    """
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero_allowed):
        expected = "zero or more" if zero_allowed else "more than zero"
        raise UserError(f"{name} is {value:g}; it must be {expected}, and finite.")
    return float(value)
