"""Links of the pages, which are written for the repository, turned into links of the site.

A page may link to any file or folder of the repository. On the site a page of the docs is a page,
a module is its page in the Python reference, a figure or a schema is a file, and every other file
or folder gets a page that shows it; so nothing on the site depends on where the code is hosted.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import PurePosixPath

LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\((?P<target>[^)#\s]+)(?=[)#\s])")
"""An inline link or image, up to the end of its path; its text may hold a pair of brackets."""

CODE = re.compile(
    r"^(?P<fence>`{3,}).*?^(?P=fence)`*[ \t]*$"
    r"|(?<!`)(?P<tick>`+)(?!`)(?:(?!\n\n).)+?(?<!`)(?P=tick)(?!`)",
    re.MULTILINE | re.DOTALL,
)
"""A block or a span of code, in which nothing is a link."""

PUBLIC = {
    "__init__", "conjugation", "errors", "registry", "files", "specs",
    "stats", "records", "lm", "judging", "families", "lab", "training", "engines", "rosetta",
    "integrations",
}  # fmt: skip
"""Parts of the package that programs may import; the others are behind the command line."""

ASSETS = {".png", ".svg", ".json"}
"""Kinds of files that the site serves as they are."""


def map_links(text: str, change: Callable[[str], str]) -> str:
    """Return Markdown with the path of every link changed, code and addresses left alone.

    Example:
        >>> map_links("[a](b.md#c) `[a](b.md)` [d](https://e.org)", str.upper)
        '[a](B.MD#c) `[a](b.md)` [d](https://e.org)'
    """
    without_code = CODE.sub(lambda code: "x" * len(code[0]), text)
    parts, end = [], 0
    for link in LINK.finditer(without_code):
        start = link.start("target")
        target = text[start : link.end("target")]
        outside = "://" in target or target.startswith("mailto:")
        parts += [text[end:start], target if outside else change(target)]
        end = link.end("target")
    return "".join([*parts, text[end:]])


def linked_path(page: PurePosixPath, target: str) -> PurePosixPath:
    """Return what a link on a page leads to, from the root of the repository.

    Example:
        >>> linked_path(PurePosixPath("docs/how-to/lab.md"), "../../experiments/lab")
        PurePosixPath('experiments/lab')
    """
    return PurePosixPath(posixpath.normpath(page.parent / target))


def link_targets(text: str, page: PurePosixPath) -> set[PurePosixPath]:
    """Return every file and folder of the repository that a page links to."""
    found: set[PurePosixPath] = set()

    def note(target: str) -> str:
        found.add(linked_path(page, target))
        return target

    map_links(text, note)
    return found


def site_path(path: PurePosixPath, *, is_folder: bool = False) -> PurePosixPath:
    """Return where the site has a file or folder of the repository.

    Example:
        >>> paths = map(PurePosixPath, ("README.md", "docs/a/b.md", "Makefile"))
        >>> [str(site_path(path)) for path in paths]
        ['index.md', 'a/b.md', 'files/Makefile.md']
        >>> str(site_path(PurePosixPath("src/palimpsest/stats/paired.py")))
        'reference/palimpsest/stats/paired.md'
    """
    if is_folder:
        path = path / "README.md"
    if path.name == "README.md":
        path = path.with_name("index.md")
    if path.suffix in {".md", *ASSETS}:
        return path.relative_to("docs") if path.parts[0] == "docs" else path
    if is_public_module(path):
        page = path.with_name("index.md") if path.stem == "__init__" else path.with_suffix(".md")
        return "reference" / page.relative_to("src")
    return PurePosixPath("files") / f"{path}.md"


def is_public_module(path: PurePosixPath) -> bool:
    """Say whether a file of the repository is a module with a page in the Python reference.

    Example:
        >>> is_public_module(PurePosixPath("src/palimpsest/judging/verdicts.py"))
        True
        >>> is_public_module(PurePosixPath("src/palimpsest/cli/main.py"))
        False
    """
    if path.parts[:2] != ("src", "palimpsest") or path.suffix != ".py":
        return False
    below = path.with_suffix("").parts[2:]
    return below[0] in PUBLIC and not any(
        name.startswith("_") and name != "__init__" for name in below
    )


def site_links(text: str, page: PurePosixPath, is_folder: Callable[[PurePosixPath], bool]) -> str:
    """Return a page of the repository with its links as the site has them.

    Args:
        text: The page.
        page: Its path in the repository.
        is_folder: Says whether a path in the repository is a folder.
    """
    here = site_path(page).parent

    def change(target: str) -> str:
        path = linked_path(page, target)
        return posixpath.relpath(site_path(path, is_folder=is_folder(path)), here)

    return map_links(text, change)
