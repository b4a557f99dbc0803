"""HTML pages of the reports, each complete in itself: templates, style, policy and figures."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from palimpsest.records import RunFolder
from palimpsest.report.figure import NARROW_INCHES, Drawing, inline_svg
from palimpsest.report.text import visible


class PageFigure(NamedTuple):
    """A figure as a page holds it."""

    drawing: Drawing
    wide: Markup
    """Inline SVG for screens."""
    narrow: Markup
    """Inline SVG for telephones."""


class KeyNumber(NamedTuple):
    """One of the few numbers at the top."""

    name: str
    value: str
    unit: str
    note: str


class NextStep(NamedTuple):
    """One thing to do now."""

    purpose: str
    """In a sentence."""
    command: str
    """To be copied, one a line; words in capitals are for the reader to fill in."""


def write_figure(folder: RunFolder, drawing: Drawing) -> PageFigure:
    """Write a figure as PNG and SVG, and return it as a page holds it."""
    wide, narrow = drawing.write(folder)["svg"], drawing.svg(NARROW_INCHES)
    name, said = drawing.name, drawing.alternative
    return PageFigure(
        drawing,
        wide=Markup(inline_svg(wide, prefix=f"{name}-wide-", label=said)),
        narrow=Markup(inline_svg(narrow, prefix=f"{name}-narrow-", label=said)),
    )


def render(
    template: str,
    figures: Sequence[PageFigure],
    *,
    script: str = "",
    filters: Mapping[str, Callable[..., object]],
    **content: object,
) -> str:
    """Return a page, in which nothing is invisible and no markup is but our own.

    Args:
        template: A file beside the style sheet.
        figures: In order.
        script: The file with the page's program, if it has one.
        filters: What the template formats its content with.
        **content: What the template shows.
    """
    environment = Environment(
        loader=PackageLoader("palimpsest.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_inert,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    style, program = _asset("report.css"), _asset(script) if script else ""
    return environment.get_template(template).render(
        figures=figures,
        style=Markup(style),
        style_hash=_policy_hash(style),
        script=Markup(program),
        script_hash=_policy_hash(program) if script else "",
        **content,
    )


def _asset(name: str) -> str:
    return files("palimpsest.report").joinpath("templates", name).read_text(encoding="utf-8")


def _policy_hash(text: str) -> Markup:
    """Return what the policy of the page names a style or script by."""
    digest = hashlib.sha256(text.encode()).digest()
    return Markup(f"sha256-{base64.b64encode(digest).decode()}")


def _inert(value: Any) -> Any:
    """Show what is invisible in every text that the template prints; our own markup stays."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value, keep="\n\t")
    return value
