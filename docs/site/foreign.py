"""What pages would load from elsewhere than their own site."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

LOADS = {"src", "srcset", "poster", "data"}
"""Attributes that load what they name; ``href`` does in ``<link>`` alone."""

STYLE_URL = re.compile(r"(?:url\(|@import)\s*[\"']?\s*((?:https?:)?//[^\"')\s]+)")


def foreign_requests(site: Path) -> list[str]:
    """Return what the pages and style sheets of a site would fetch from other hosts.

    Args:
        site: The folder of the built site.
    """
    found = []
    for path in sorted(site.rglob("*")):
        if path.suffix == ".html":
            loaded = _loaded(path.read_text("utf-8"))
        elif path.suffix == ".css":
            loaded = STYLE_URL.findall(path.read_text("utf-8"))
        else:
            continue
        found += [f"{path.relative_to(site)} loads {address}" for address in loaded]
    return found


def _loaded(page: str) -> list[str]:
    reader = _Reader()
    reader.feed(page)
    return [address for address in reader.loaded if re.match(r"(?:https?:)?//", address)]


class _Reader(HTMLParser):
    """Notes what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        self.loaded += [value for name, value in attrs if value and _is_loaded(tag, name)]

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.loaded += STYLE_URL.findall(data)


def _is_loaded(tag: str, attribute: str) -> bool:
    return attribute in LOADS or (tag == "link" and attribute == "href")
