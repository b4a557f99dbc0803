"""The harness's own command line, with the model ``conjugate`` among its models."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def run_harness(arguments: Sequence[str]) -> None:
    """Run ``lm-eval`` with these arguments, as if they had been typed.

    Raises:
        SystemExit: With the harness's own exit code, where it sets one.
    """
    from lm_eval.__main__ import cli_evaluate

    with _command_line(arguments):
        cli_evaluate()


@contextmanager
def _command_line(arguments: Sequence[str]) -> Iterator[None]:
    """Have ``sys.argv``, which the harness reads and changes, hold its arguments."""
    ours = sys.argv
    sys.argv = ["lm-eval", *arguments]
    try:
        yield
    finally:
        sys.argv = ours
