"""What every figure shares: palette, style, and how it becomes files and inline SVG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree import ElementTree

import matplotlib.style
from matplotlib.figure import Figure

INK = "#2a2520"
MUTED = "#6a6156"
RULE = "#ddd3c0"
BAND = "#f4ecdb"
PAPER = "#fffdf7"
BASE = "#0b66a6"
TUNED = "#c2500b"
RIGHT = "#14756b"
INTRUDED = "#e5a823"
BROKEN = "#a49c91"
ON_DARK = "#fffefb"
ON_LIGHT = "#1e1a16"

PALETTE: dict[str, str] = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    BAND: "band",
    PAPER: "paper",
    BASE: "base",
    TUNED: "tuned",
    RIGHT: "right",
    INTRUDED: "intruded",
    BROKEN: "broken",
    ON_DARK: "on-dark",
    ON_LIGHT: "on-light",
    "#000000": "ink",
    "#ffffff": "paper",
}
"""Colours to the names that the page's style sheet sets anew for light and dark.

Base and tuned, and the three outcomes, stay apart under the usual colour vision deficiencies:
each pair differs in lightness or along blue to orange.
"""

WIDE_INCHES = 8.4
"""Width of the figures on a page, and of the files."""

NARROW_INCHES = 3.7
"""Width on a telephone, at the same text size."""

STYLE: dict[str, object] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.linewidth": 0.8,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.major.size": 0,
    "figure.facecolor": PAPER,
    "figure.edgecolor": "none",
    "figure.titlesize": 10,
    "figure.titleweight": "bold",
    "legend.frameon": False,
    "legend.borderaxespad": 0,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.4,
    "savefig.facecolor": "auto",
    "svg.fonttype": "none",
    "svg.hashsalt": "palimpsest",
}
"""Over matplotlib's defaults; text stays text, and the same figure gives the same bytes."""

PNG_DPI = 200

_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"


@dataclass(frozen=True)
class Drawing:
    """A figure of the report, drawn anew for each width."""

    name: str
    """Stem of its files, unique in a report: letters, digits and hyphens."""

    title: str
    """The quantity it shows."""

    caption: str
    """How to read it."""

    alternative: str
    """What it says, for those who do not see it."""

    draw: Callable[[float], Figure]
    """Draws it at a width in inches."""


@contextmanager
def figure_style() -> Iterator[None]:
    """Use the report's style, whatever the user's matplotlib settings say.

    Names in scripts that the font lacks draw boxes in the PNG, which is no reason to warn.
    """
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


class FigureFiles(NamedTuple):
    """A figure as files, on paper; the same bytes every time."""

    svg: bytes
    png: bytes


def figure_files(drawing: Drawing, *, width: float = WIDE_INCHES) -> FigureFiles:
    """Return the figure as SVG and PNG files."""
    with figure_style():
        figure = drawing.draw(width)
        return FigureFiles(
            svg=_saved(figure, format="svg", metadata={"Date": None}),
            png=_saved(figure, format="png", dpi=PNG_DPI, metadata={"Software": None}),
        )


def svg_bytes(drawing: Drawing, *, width: float = WIDE_INCHES) -> bytes:
    """Return the figure as an SVG file only."""
    with figure_style():
        return _saved(drawing.draw(width), format="svg", metadata={"Date": None})


def inline_svg(svg: bytes, *, prefix: str, label: str) -> str:
    """Turn matplotlib's SVG into one that a page with a strict policy can hold.

    Style attributes become presentation attributes (the policy forbids the former), colours of
    the palette become classes (the page sets them for light and dark), identifiers get a prefix
    (they must be unique on the page), and the font is the page's.

    Args:
        svg: What matplotlib wrote.
        prefix: Put before every identifier.
        label: The text alternative.
    """
    root = ElementTree.fromstring(svg)
    _drop(root, f"{{{_SVG}}}metadata")
    _drop(root, f"{{{_SVG}}}style")
    for element in root.iter():
        _prefix_references(element, prefix)
        _present(element)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib.update({"role": "img", "aria-label": label, "class": "figure-svg"})
    root.attrib.update({"stroke-linejoin": "round", "stroke-linecap": "butt"})
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode")


def _saved(figure: Figure, **options: object) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, **options)  # type: ignore[arg-type]
    return out.getvalue()


def _drop(root: ElementTree.Element, tag: str) -> None:
    for parent in list(root.iter()):
        for child in parent.findall(tag):
            parent.remove(child)


def _prefix_references(element: ElementTree.Element, prefix: str) -> None:
    if (reference := element.attrib.pop(_HREF, None)) is not None:
        element.set("href", f"#{prefix}{reference.removeprefix('#')}")
    for key, value in element.attrib.items():
        if key == "id":
            element.set(key, prefix + value)
        elif value.startswith("url(#"):
            element.set(key, f"url(#{prefix}{value.removeprefix('url(#')}")


def _present(element: ElementTree.Element) -> None:
    classes = []
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if not value or name == "font-family":
            continue
        element.set(name, value)
        if name in ("fill", "stroke") and value in PALETTE:
            classes.append(f"{name}-{PALETTE[value]}")
    is_text = element.tag == f"{{{_SVG}}}text"
    if is_text and "fill" not in element.attrib:
        classes.append("fill-ink")
    if classes:
        element.set("class", " ".join(classes))
