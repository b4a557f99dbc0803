"""JSON for the terminal, in which a model's text cannot act on it."""

from __future__ import annotations

import re
from typing import Any

import typer

_ACTS = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Beyond what JSON escapes by itself: terminal controls, reordering marks, lone surrogates."""


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output, readable letters as they are."""
    typer.echo(json_text(value))


def json_text(value: Any) -> str:
    r"""Return a value as JSON, with everything escaped that a terminal would act on.

    Example:
        >>> print(json_text({"answer": "Été \x9b1m"}))
        {
          "answer": "Été \u009b1m"
        }
    """
    from json import dumps

    text = dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
    return _ACTS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
