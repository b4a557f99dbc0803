"""Write the site's sources, have them built, and look the result over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from docs.site.foreign import foreign_requests
from docs.site.links import site_path
from docs.site.navigation import navigation
from docs.site.pages import Repository

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STATIC = ("style.css", "favicon.svg", "iframe-worker.js")


def write_sources(root: Path, folder: Path) -> Path:
    """Write everything that the site is built from, and return its configuration file.

    Args:
        root: The repository.
        folder: Where to; what it held is removed.
    """
    repository = Repository(root)
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "pages"
    for path, text in repository.pages():
        (pages / path).parent.mkdir(parents=True, exist_ok=True)
        (pages / path).write_text(text, "utf-8")
    for path in repository.assets:
        target = pages / site_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, target)
    for name in STATIC:
        shutil.copyfile(HERE / name, pages / name)
    config = folder / "mkdocs.yml"
    inherited = os.path.relpath(HERE / "mkdocs.yml", folder)
    config.write_text(
        f"INHERIT: {inherited}\ndocs_dir: pages\nnav: {json.dumps(navigation(repository))}\n",
        "utf-8",
    )
    return config


def build_site(config: Path, site: Path) -> None:
    """Build the site with every warning an error.

    Raises:
        subprocess.CalledProcessError: MkDocs warned of something, and said of what.
    """
    command = ["mkdocs", "build", "--strict", "--clean", "-f", str(config), "-d", str(site)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path]),
        "NO_MKDOCS_2_WARNING": "1",  # an advertisement that the theme prints
    }
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, check=True)


def main(arguments: Sequence[str]) -> int:
    """Build the site in a folder, ``site`` unless another is named, and look it over."""
    site = Path(arguments[0] if arguments else "site").resolve()
    try:
        build_site(write_sources(ROOT, ROOT / "build" / "site"), site)
    except subprocess.CalledProcessError as error:
        return error.returncode
    foreign = foreign_requests(site)
    for request in foreign:
        sys.stderr.write(f"{request}\n")
    sys.stdout.write(f"{site / 'index.html'}\n")
    return 1 if foreign else 0
