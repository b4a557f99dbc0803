"""The order of the site's pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TypeAlias

from docs.site.links import site_path
from docs.site.pages import PROJECT, Repository

Nav: TypeAlias = "list[str | dict[str, str | Nav]]"
"""Pages, whose titles are their headings, or titles with what lies below them, for MkDocs."""

UNDERSTAND = (
    "theory.md",
    "verdicts.md",
    "footguns.md",
    "claims.md",
    "real-models.md",
    "rosetta.md",
)
"""Pages of ``docs/`` in the order of reading; others follow."""

START = ("index.md", "install.md", "tutorial.md")
"""Pages to begin with."""

CHINESE = "README.zh-CN.md"

APART = {*START, "cli.md"}
"""Pages of ``docs/`` that stand elsewhere."""


def navigation(repository: Repository) -> Nav:
    """Return the pages of the repository in the order of reading."""
    pages = [str(site_path(path)) for path in repository.written]

    def below(folder: str) -> Nav:
        return [f"{folder}/index.md", *(page for page in pages if _is_in(folder, page))]

    own = [path.name for path in repository.written if path.parent.as_posix() == "docs"]
    understand = [page for page in own if page not in APART]
    project = [page for page in pages if page in PROJECT or page.startswith("experiments/")]
    start: Nav = [page for page in START if page in pages]
    start += [{"简体中文": page} for page in pages if page == CHINESE]
    jobs: Nav = [
        {job: [str(site_path(path)) for path in paths]}
        for job, paths in repository.how_to().items()
    ]
    return [
        {"Start": start},
        {"How-to guides": ["how-to/index.md", *jobs]},
        {"Understand": [*_ordered(understand, UNDERSTAND)]},
        {"Reference": ["cli.md", {"Python": _modules(repository)}]},
        {"Extend": below("adding")},
        {"Project": [*_ordered(project, PROJECT), {"Decisions": below("decisions")}]},
    ]


def _is_in(folder: str, page: str) -> bool:
    return page.startswith(f"{folder}/") and page != f"{folder}/index.md"


def _ordered(pages: Sequence[str], first: Sequence[str]) -> list[str]:
    """Return the pages that are named first in that order, then the others in theirs.

    Example:
        >>> _ordered(["a", "b", "c"], ["c", "missing", "b"])
        ['c', 'b', 'a']
    """
    named = [page for page in first if page in pages]
    return [*named, *(page for page in pages if page not in named)]


def _modules(repository: Repository) -> Nav:
    """Return the Python reference, a section a package."""
    tree: Nav = []
    for path in sorted(repository.modules, key=_package_first):
        below = tree
        for package in path.parts[2:-1]:
            below = _section(below, package)
        page = str(site_path(path))
        below.append(page if path.name == "__init__.py" else {path.stem: page})
    return tree


def _package_first(path: PurePosixPath) -> tuple[str, ...]:
    return tuple("" if part == "__init__.py" else part for part in path.parts)


def _section(nav: Nav, title: str) -> Nav:
    """Return what lies below a title, which is added where it is missing."""
    for entry in nav:
        if isinstance(entry, dict) and isinstance(found := entry.get(title), list):
            return found
    nav.append({title: (found := [])})
    return found
