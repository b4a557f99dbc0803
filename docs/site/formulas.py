"""Formulas as MathML, which browsers set themselves: no script, no font, no request.

Both functions have the signature that the Markdown extensions of the site call: ``superfences`` for
blocks marked ``math`` and ``inlinehilite`` for spans that begin with ``#!math``.
"""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert


def block(source: str, language: str, css_class: str, options: Any, md: Any, **_: Any) -> str:
    r"""Return a displayed formula as HTML; what ``\quad`` sets apart may stand on its own line."""
    parts = "".join(_mathml(part, "block") for part in clauses(source))
    return f'<div class="formula">{parts}</div>'


def clauses(source: str) -> list[str]:
    r"""Return the parts of a formula between wide spaces, unless these are within braces.

    Example:
        >>> clauses(r"a = b, \qquad c = {d \quad e}")
        ['a = b,', 'c = {d \\quad e}']
    """
    parts = [""]
    for piece in re.split(r"(\\q?quad(?![a-zA-Z]))", source):
        is_space = piece in {r"\quad", r"\qquad"}
        if is_space and parts[-1].count("{") == parts[-1].count("}"):
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts if part.strip()]


def inline(source: str, language: str, css_class: str, md: Any) -> str:
    """Return a formula within a line as HTML."""
    return _mathml(source, "inline")


def _mathml(source: str, display: str) -> str:
    known = source.replace(r"\arg", r"\operatorname{arg}")  # which the converter does not know
    return str(convert(known, display=display))
