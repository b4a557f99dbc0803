"""Figures of the reports: palette, style, the sheet they are drawn on, and how one becomes files.

A figure is one function from results to a :class:`Drawing`, registered with the page it belongs to.
What it draws is drawn once a width, and becomes PNG, SVG and the inline SVG of the page from there.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from xml.etree import ElementTree

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palimpsest.records import RunFolder

Data = TypeVar("Data")

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


class Sheet:
    """Where a figure is drawn: its title stands at the top left, at a width in inches."""

    def __init__(self, title: str, width: float) -> None:
        self.title = title
        self.width = width
        self.is_narrow = width <= NARROW_INCHES

    def start(
        self, height: float, legend: Sequence[Artist] = (), *, narrow_columns: int | None = None
    ) -> Figure:
        """Return an empty figure with the title, and a legend under it.

        Args:
            height: What is left for the axes, in inches.
            legend: Labelled artists, all in one line.
            narrow_columns: How many of them stand in a line where the sheet is narrow.
        """
        n_columns = narrow_columns if narrow_columns and self.is_narrow else max(1, len(legend))
        # The page sets titles in a serif face, which is wider than the one they are drawn in.
        lines = textwrap.wrap(self.title, round(self.width * 10.5))
        head = 0.14 + 0.17 * len(lines)
        whole = head + (0.05 + 0.17 * -(-len(legend) // n_columns) if legend else 0) + height
        figure = Figure(figsize=(self.width, whole), layout="constrained")
        figure.get_layout_engine().set(  # type: ignore[union-attr]
            w_pad=0.06,
            h_pad=0.06,
            rect=(0, 0, 1, height / whole),  # type: ignore[call-arg]
        )
        x, y = 0.06 / self.width, 1 - 0.08 / whole
        title = "\n".join(lines)
        text = figure.text(x, y, title, weight="bold", size=10, va="top", linespacing=1.25)
        text.set_gid("title")
        text.set_in_layout(False)
        if legend:
            place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (x, 1 - head / whole)}
            figure.legend(
                handles=legend, ncols=n_columns, borderpad=0, handlelength=1.1, **place
            ).set_in_layout(False)
        self.figure = figure
        return figure

    def axes(
        self, height: float, legend: Sequence[Artist] = (), *, narrow_columns: int | None = None
    ) -> Axes:
        """Return the only axes of a figure."""
        return self.start(height, legend, narrow_columns=narrow_columns).add_subplot()

    def panels(
        self,
        n: int,
        height: float,
        legend: Sequence[Artist] = (),
        *,
        n_columns: int,
        margin: float = 0.0,
        narrow_columns: int | None = None,
        sharex: bool = False,
        sharey: bool = False,
    ) -> list[Axes]:
        """Return the axes of ``n`` panels, ``height`` inches a line and ``margin`` more for all."""
        n_lines = -(-n // n_columns)
        figure = self.start(margin + n_lines * height, legend, narrow_columns=narrow_columns)
        found = figure.subplots(n_lines, n_columns, sharex=sharex, sharey=sharey, squeeze=False)
        for panel in found.flat[n:]:
            panel.set_visible(False)
        return list(found.flat[:n])


@dataclass(frozen=True)
class Drawing:
    """A figure of a report, drawn anew for each width."""

    name: str
    """Stem of its files, unique in a report: letters, digits and hyphens."""

    title: str
    """The quantity it shows."""

    caption: str
    """How to read it."""

    alternative: str
    """What it says, for those who do not see it."""

    draw: Callable[[Sheet], None]
    """Draws it on a sheet."""

    basis: str = ""
    """How many examples it stands on, and what its intervals are over; the page has it below the
    caption."""

    def figure(self, width: float) -> Figure:
        """Return the figure at a width in inches."""
        sheet = Sheet(self.title, width)
        self.draw(sheet)
        return sheet.figure

    def svg(self, width: float = WIDE_INCHES) -> bytes:
        """Return the figure as an SVG file."""
        with figure_style():
            return _svg(self.figure(width))

    def files(self) -> dict[str, bytes]:
        """Return the figure on paper as ``svg`` and ``png``; the same bytes every time."""
        with figure_style():
            figure = self.figure(WIDE_INCHES)
            svg = _svg(figure)
            png = _saved(figure, format="png", dpi=PNG_DPI, metadata={"Software": None})
            return {"svg": svg, "png": png}

    def write(self, folder: RunFolder) -> dict[str, bytes]:
        """Write the figure as PNG and SVG into a run folder, and return both."""
        files = self.files()
        for ending, content in files.items():
            folder.write_bytes(f"figures/{self.name}.{ending}", content)
        return files


FigureFunction = Callable[[Data], Drawing | None]
"""From results to a figure; to None where it does not apply."""


class FigureRegistry(Generic[Data]):
    """The figures of one kind of page, in its order."""

    def __init__(self) -> None:
        self.functions: list[FigureFunction[Data]] = []

    def register(self, function: FigureFunction[Data]) -> FigureFunction[Data]:
        """Add a figure after the others."""
        self.functions.append(function)
        return function

    def drawings(self, results: Data) -> list[Drawing]:
        """Return the figures that these results allow."""
        found = (function(results) for function in self.functions)
        return [drawing for drawing in found if drawing is not None]


@contextmanager
def figure_style() -> Iterator[None]:
    """Use the report's style, whatever the user's matplotlib settings say.

    Names in scripts that the font lacks draw boxes in the PNG, which is no reason to warn.
    """
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def draw_intervals(
    axes: Axes,
    values: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    places: Sequence[float],
    *,
    upright: bool = False,
    **style: Any,
) -> None:
    """Draw marks with error bars, one at each place of the other axis; ``upright`` or lying."""
    below = [max(0.0, value - low) for value, (low, _) in zip(values, intervals, strict=True)]
    above = [max(0.0, high - value) for value, (_, high) in zip(values, intervals, strict=True)]
    style |= {"yerr" if upright else "xerr": [below, above], "capsize": 2.5, "elinewidth": 1.4}
    axes.errorbar(*((places, values) if upright else (values, places)), **style)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write names at 0, 1, … of the vertical axis, downwards."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


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


def _svg(figure: Figure) -> bytes:
    return _saved(figure, format="svg", metadata={"Date": None})


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
