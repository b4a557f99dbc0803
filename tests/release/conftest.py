from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.release.environment import Environment, install

ROOT = Path(__file__).parents[2]


class Built(NamedTuple):
    """What `make dist` builds."""

    sdist: Path
    wheel: Path
    """Built from the sdist."""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    [sdist], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="session")
def environment(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return install(built.wheel, tmp_path_factory.mktemp("empty") / "venv")


def build(source: Path, out: Path, *options: str) -> None:
    """Build with the build back end that is installed: nothing is downloaded."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, the build back end, is not installed: pip install -e '.[dev]'")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", out, source],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
