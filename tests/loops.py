"""Coroutines run to their end, whoever else is about.

Inspect AI replaces :func:`asyncio.run`, for the rest of the process, by one that leaves its loop
open.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns, from a loop of its own that is closed."""
    with asyncio.Runner() as runner:
        return runner.run(coroutine)
