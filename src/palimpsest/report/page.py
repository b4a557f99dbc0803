"""What every page shares: the templates, the style, the policy, and figures as files and inline."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from palimpsest.records.run_folder import RunFolder
from palimpsest.report import text as formatting
from palimpsest.report.diagnosis import wording
from palimpsest.report.figure import (
    NARROW_INCHES,
    Drawing,
    figure_files,
    inline_svg,
    svg_bytes,
)


class PageFigure(NamedTuple):
    """A figure as the page holds it."""

    drawing: Drawing
    wide: str
    """Inline SVG for screens."""
    narrow: str
    """Inline SVG for telephones."""


class KeyNumber(NamedTuple):
    """One of the few numbers at the top."""

    name: str
    value: str
    unit: str
    note: str


def page_environment() -> Environment:
    """Return what renders the templates: nothing invisible, and no markup but our own."""
    environment = Environment(
        loader=PackageLoader("palimpsest.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_inert,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"paper": wording.PAPER}
    return environment


def page_figures(figures: Sequence[PageFigure]) -> list[PageFigure]:
    """Return the figures with their SVG marked as our own, which is not escaped."""
    return [f._replace(wide=Markup(f.wide), narrow=Markup(f.narrow)) for f in figures]


def asset(name: str) -> str:
    """Return the text of one of the files beside the templates."""
    return files("palimpsest.report").joinpath("templates", name).read_text(encoding="utf-8")


def policy_hash(text: str) -> str:
    """Return what the policy of the page names a style or script by."""
    digest = hashlib.sha256(text.encode()).digest()
    return Markup(f"sha256-{base64.b64encode(digest).decode()}")


def write_figure(target: RunFolder, drawing: Drawing) -> PageFigure:
    """Write the figure as PNG and SVG, and return it as a page holds it."""
    saved = figure_files(drawing)
    target.write_bytes(f"figures/{drawing.name}.svg", saved.svg)
    target.write_bytes(f"figures/{drawing.name}.png", saved.png)
    narrow = svg_bytes(drawing, width=NARROW_INCHES)
    said = drawing.alternative
    return PageFigure(
        drawing,
        wide=inline_svg(saved.svg, prefix=f"{drawing.name}-wide-", label=said),
        narrow=inline_svg(narrow, prefix=f"{drawing.name}-narrow-", label=said),
    )


def _inert(value: Any) -> Any:
    """Show what is invisible in every text that the template prints; our own markup stays."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return formatting.visible(value, keep="\n\t")
    return value
