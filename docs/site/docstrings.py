"""Docstrings of the package as Markdown, for the Python reference.

The code writes formulas and cross-references the way Sphinx reads them, since that is what
readers of Python code know; the site speaks Markdown.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

from griffe import Alias, Extension, GriffeLoader, Module, NameResolutionError, Object

FORMULA = re.compile(
    r"^(?P<indent> *)\.\. math:: *(?P<line>[^\n]*)(?P<more>(?:\n(?P=indent) +\S[^\n]*)*)",
    re.MULTILINE,
)
"""A formula on the line of its directive, or indented below it."""

ROLE = re.compile(r":(?P<role>math|class|func|meth|mod):`(?P<text>[^`]+)`")

SECTION = re.compile(r"^(?P<indent> *)Example: *$", re.MULTILINE)
"""The heading of an example; the parser of the site knows the plural."""


class MarkdownDocstrings(Extension):
    """Rewrites every docstring once the package is loaded, before its sections are parsed."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **_: Any) -> None:
        """Rewrite the docstrings of a package."""
        _rewrite(pkg)


def _rewrite(found: Object) -> None:
    if found.docstring is not None:
        found.docstring.value = to_markdown(found.docstring.value, found)
    for name, member in list(found.members.items()):
        if isinstance(member, Alias):
            continue
        if _is_inner(member):
            del found.members[name]
        else:
            _rewrite(member)


def _is_inner(found: Object) -> bool:
    """Say whether a member is what ``__init__`` keeps without a word, no field and no constant."""
    is_set_in_init = "instance-attribute" in found.labels and "class-attribute" not in found.labels
    return is_set_in_init and found.docstring is None and getattr(found, "value", None) is not None


def to_markdown(text: str, scope: Object | None = None) -> str:
    r"""Return a docstring with Markdown for what Sphinx would read.

    Args:
        text: The docstring.
        scope: Where the names in it are looked up; without it they become code.

    Example:
        >>> print(to_markdown("Return :math:`w^2` as\n\n.. math:: a = b\n\nof :class:`Thing`."))
        Return `#!math w^2` as
        <BLANKLINE>
        ```math
        a = b
        ```
        <BLANKLINE>
        of `Thing`.
    """
    text = FORMULA.sub(_formula, text)
    text = ROLE.sub(lambda match: _reference(match["role"], match["text"], scope), text)
    return SECTION.sub(r"\g<indent>Examples:", text)


def _formula(match: re.Match[str]) -> str:
    lines = [match["line"], *textwrap.dedent(match["more"]).splitlines()]
    formula = "\n".join(line for line in lines if line.strip())
    return textwrap.indent(f"```math\n{formula}\n```", match["indent"])


def _reference(role: str, text: str, scope: Object | None) -> str:
    """Return a formula, or a link to a name of the package where there is one."""
    if role == "math":
        return f"`#!math {text}`"
    name = text.removeprefix("~")
    shown = name.rpartition(".")[2] if text.startswith("~") else name
    target = name if name.startswith("palimpsest.") else _resolved(name, scope)
    return f"`{shown}`" if target is None else f"[`{shown}`][{target}]"


def _resolved(name: str, scope: Object | None) -> str | None:
    """Return the full name of what a name means where it is used."""
    first, dot, rest = name.partition(".")
    try:
        return None if scope is None else f"{scope.resolve(first)}{dot}{rest}"
    except NameResolutionError:
        return None
