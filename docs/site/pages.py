"""What stands on the site: the pages of the repository, and pages made from its code.

A new how-to, decision, module or page of ``docs/`` appears by itself. Whatever a page links to is
on the site, too: a file that is no page gets one that shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from docs.site.links import ASSETS, is_public_module, link_targets, site_links, site_path

PROJECT = ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
"""Pages on the project itself, in the order of reading."""

SECTIONS = {
    PurePosixPath("docs/how-to"): "# How-to guides\n\nOne screen each, for one thing to get done.",
    PurePosixPath("docs/adding"): "# Extend\n\nWhat you can add: one file, one registration each.",
}
"""Folders whose pages are listed on a page that nobody has to write."""

JOBS = {
    "Diagnose": (
        "plan",
        "compare",
        "trace",
        "your-models",
        "your-data",
        "abilities",
        "inference",
        "scorers",
        "thinking",
        "endpoint",
        "many-gpus",
        "browse",
        "translate",
        "nli",
        "lm-eval-tasks",
    ),
    "Fix": ("restore", "recommend", "serve"),
    "Integrate": ("ci", "lm-eval", "inspect", "trainer", "promptfoo", "garak", "litellm"),
    "Understand": ("lab",),
}
"""What somebody wants to get done, and the how-tos for it; others follow below ``More``."""

UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"


class Page(NamedTuple):
    """One page of the site."""

    path: PurePosixPath
    """From the folder of the site's sources."""
    text: str


class Repository:
    """The files that the site is made from.

    Args:
        root: The folder of the repository.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        patterns = ["README*.md", "docs/**/*.md", *PROJECT, "decisions/*.md", "experiments/*.md"]
        self.written = [path for pattern in patterns for path in self._glob(pattern)]
        self.modules = list(filter(is_public_module, self._glob("src/palimpsest/**/*.py")))
        self.linked = {
            path
            for page in self.written
            for path in link_targets(self.text(page), page)
            if (root / path).exists()  # MkDocs complains of the others
        }
        docs = [*self._glob("docs/**/*"), *self.linked]
        self.assets = sorted({path for path in docs if path.suffix in ASSETS})

    def pages(self) -> Iterator[Page]:
        """Yield every page of the site."""
        for path in self.written:
            yield self._page(path, self.text(path))
        for path in self.modules:
            yield _module_page(path)
        for folder, head in SECTIONS.items():
            if folder / "README.md" not in self.written:
                yield self._page(folder / "README.md", f"{head}\n\n{self._contents(folder)}\n")
        for path in self._linked_without_page():
            show = self._listing if self.is_folder(path) else self._file
            yield show(path)

    def text(self, path: PurePosixPath) -> str:
        """Return the text of a file."""
        return (self.root / path).read_text("utf-8")

    def is_folder(self, path: PurePosixPath) -> bool:
        """Say whether a path is a folder."""
        return (self.root / path).is_dir()

    def _glob(self, pattern: str) -> list[PurePosixPath]:
        found = (path for path in self.root.glob(pattern) if path.is_file())
        return sorted(PurePosixPath(path.relative_to(self.root)) for path in found)

    def how_to(self) -> dict[str, list[PurePosixPath]]:
        """Return the how-tos by the job that they are for, in the order of reading."""
        pages = [path for path in self.written if path.parent.as_posix() == "docs/how-to"]
        pages = [path for path in pages if path.name != "README.md"]
        known = {name: job for job, names in JOBS.items() for name in names}
        order = list(known)
        jobs: dict[str, list[PurePosixPath]] = {job: [] for job in (*JOBS, "More")}
        for path in sorted(pages, key=lambda path: (*order, path.stem).index(path.stem)):
            jobs[known.get(path.stem, "More")].append(path)
        return {job: found for job, found in jobs.items() if found}

    def _page(self, path: PurePosixPath, text: str) -> Page:
        front = "" if "\n## " in text else "---\nhide: [toc]\n---\n\n"  # an empty column
        return Page(site_path(path), front + site_links(text, path, self.is_folder))

    def _contents(self, folder: PurePosixPath) -> str:
        """Return a list of the pages in a folder; of the how-tos, a list for each job."""
        if folder.name == "how-to":
            jobs = self.how_to().items()
            return "\n\n".join(f"## {job}\n\n{self._list(pages)}" for job, pages in jobs)
        return self._list([path for path in self.written if path.parent == folder])

    def _list(self, pages: Sequence[PurePosixPath]) -> str:
        return "\n".join(f"- [{_title(self.text(path))}]({path.name})" for path in pages)

    def _linked_without_page(self) -> list[PurePosixPath]:
        """Return files and folders that pages link to and that are no pages themselves."""
        inside = {file for path in self.linked for file in self._files(path)}
        have = {site_path(path) for path in [*self.written, *self.modules, *self.assets]}
        have |= {site_path(folder, is_folder=True) for folder in SECTIONS}
        return [
            path
            for path in sorted(self.linked | inside)
            if site_path(path, is_folder=self.is_folder(path)) not in have
        ]

    def _files(self, folder: PurePosixPath) -> list[PurePosixPath]:
        """Return the files in a folder that somebody wrote."""
        return [
            path
            for path in self._glob(f"{folder}/**/*")
            if not any(part.startswith((".", "__pycache__")) for part in path.parts)
        ]

    def _listing(self, folder: PurePosixPath) -> Page:
        names = (path.relative_to(folder) for path in self._files(folder))
        listed = "\n".join(f"- [{name}]({name})" for name in names)
        text = site_links(f"# {folder}\n\n{listed}\n", folder / "README.md", self.is_folder)
        return Page(site_path(folder / "README.md"), UNSEARCHED + text)

    def _file(self, path: PurePosixPath) -> Page:
        text = self.text(path)
        fence = "`" * (1 + max([2, *map(len, re.findall("`+", text))]))
        language = path.suffix.removeprefix(".") or "text"
        block = f"{fence}{language}\n{text}\n{fence}"
        return Page(site_path(path), f"{UNSEARCHED}# {path.name}\n\n`{path}`\n\n{block}\n")


def module_name(path: PurePosixPath) -> str:
    """Return the dotted name of a module.

    Example:
        >>> module_name(PurePosixPath("src/palimpsest/lm/__init__.py"))
        'palimpsest.lm'
    """
    parts = path.relative_to("src").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _module_page(path: PurePosixPath) -> Page:
    name = module_name(path)
    return Page(site_path(path), f"---\ntitle: {name}\n---\n\n::: {name}\n")


def _title(text: str) -> str:
    """Return the heading of a page."""
    return text.lstrip("# ").partition("\n")[0]
