"""``palimpsest lm-eval``: the command of lm-evaluation-harness, with one model more."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""Everything from the first word that is not ours goes to the harness as it is."""

EXIT_INTERRUPTED = 130


def lm_eval(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND",
            help="What lm-eval is to do; goes to it as it is.",
            show_default=False,
        ),
    ],
) -> None:
    """Run lm-evaluation-harness with models under a conjugation.

    \b
    palimpsest lm-eval run --model conjugate \\
        --model_args inner=hf,pretrained=./tuned,via=leet \\
        --tasks arc_easy --output_path leet --log_samples
    palimpsest lm-eval run --help

    The model `conjugate` wraps any model of the harness: `inner` is its name, `via` the conjugation
    (see: `palimpsest list conjugations`); all other model arguments are the inner model's. Tasks,
    options, results and exit codes are those of lm-eval. `via=identity` changes nothing. Next:
    `palimpsest compare` judges the logs of two such runs.
    """
    from lm_eval.__main__ import cli_evaluate

    from palimpsest.integrations.lm_eval import ConjugateLM  # noqa: F401  # which registers it

    try:
        with _command_line(arguments):
            cli_evaluate()
    except KeyboardInterrupt:  # not as our commands end: the same again would begin anew
        raise SystemExit(EXIT_INTERRUPTED) from None


@contextmanager
def _command_line(arguments: Sequence[str]) -> Iterator[None]:
    """Have ``sys.argv``, which the harness reads and changes, hold its arguments."""
    ours = sys.argv
    sys.argv = ["lm-eval", *arguments]
    try:
        yield
    finally:
        sys.argv = ours
