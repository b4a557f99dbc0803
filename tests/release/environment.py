"""An environment with nothing but a wheel and what it declares, made without a download."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_NO_NETWORK = """
import os, socket

def refuse(*args, **kwargs):
    with open(os.environ["CONNECTIONS"], "a") as log:
        log.write(f"{args}\\n")
    raise OSError("This environment has no network.")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


class Environment(NamedTuple):
    """Where the wheel is installed, and nothing else of ours can be imported."""

    folder: Path
    site: Path

    @property
    def connections(self) -> Path:
        """What its programs wanted to connect to; no such file if to nothing."""
        return self.folder / "connections.txt"

    def run(self, program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run one of its programs, without a network and without our environment's variables."""
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=cwd,
            env={
                "PATH": os.defpath,
                "HOME": str(cwd),
                "OMP_NUM_THREADS": "1",
                "CONNECTIONS": str(self.connections),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )


def install(wheel: Path, folder: Path) -> Environment:
    """Install a wheel where there is nothing but what it declares to need.

    Its dependencies, and theirs, are linked from the running interpreter: no extras, no tools of
    development. Pip then finds every one that is missing or has a version that the wheel refuses.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    [site] = folder.glob("lib/python*/site-packages")
    for needed in _needed(metadata_of(wheel)):
        _link(needed, site)
    (site / "no_network.py").write_text(_NO_NETWORK, "utf-8")
    (site / "no_network.pth").write_text("import no_network\n", "utf-8")
    environment = Environment(folder, site)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "--python", str(folder / "bin" / "python"), "install", "--no-index", str(wheel)],
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": "", "CONNECTIONS": str(environment.connections)},
    )
    return environment


def metadata_of(wheel: Path) -> Distribution:
    """Return what a wheel says of itself."""
    [folder] = (each for each in zipfile.Path(wheel).iterdir() if each.name.endswith(".dist-info"))
    return PathDistribution(folder)


def _needed(top: Distribution) -> Iterator[Distribution]:
    """Yield what a distribution requires without extras, and what that requires."""
    seen: set[tuple[str, str]] = set()
    waiting = list(_requirements(top, extra=""))
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) not in seen:
            seen.add((name, extra))
            found = distribution(name)
            waiting += _requirements(found, extra)
            yield found


def _requirements(of: Distribution, extra: str) -> Iterator[tuple[str, str]]:
    for text in of.requires or ():
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
            for each in ("", *wanted.extras):
                yield canonicalize_name(wanted.name), each


def _link(package: Distribution, site: Path) -> None:
    home = Path(str(package.locate_file("")))
    for name in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
        if not (site / name).exists():  # two packages may share a folder
            (site / name).symlink_to(home / name)
