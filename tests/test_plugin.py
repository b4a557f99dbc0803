"""The package in ``examples/plugin``, installed as a user would, is found and used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "examples" / "plugin"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The plugin installed into a folder of its own, which is added to the path."""
    folder = tmp_path_factory.mktemp("plugin")
    # A build writes beside the sources; they are to stay as they are.
    shutil.copytree(SOURCES, folder / "sources", ignore=shutil.ignore_patterns("__pycache__"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    installed = folder / "installed"
    subprocess.run(
        [*install, *offline, "--target", str(installed), str(folder / "sources")],
        check=True,
        timeout=120,
    )
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), *sys.path])}


def _run(environment: dict[str, str], *command: str) -> str:
    """Run a module of Python from the repository; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_shows_its_entry_points() -> None:
    page = (ROOT / "docs" / "adding" / "plugin.md").read_text("utf-8")
    [shown] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert shown in (SOURCES / "pyproject.toml").read_text("utf-8")


def test_what_it_adds_is_listed_with_its_description(environment: dict[str, str]) -> None:
    assert "Repeat a sum" in _run(environment, "palimpsest", "list", "suites")
    assert "French labels" in _run(environment, "palimpsest", "list", "conjugations")


@pytest.mark.slow
def test_a_pair_is_diagnosed_by_its_suite_under_its_conjugation(
    environment: dict[str, str], tmp_path: Path
) -> None:
    command = ["palimpsest", "diagnose", "rosetta:base", "rosetta:tuned", "--json"]
    asked = ["--suite", "echo:n=30", "--via", "french-labels", "--via", "french-labels|leet"]
    results = json.loads(_run(environment, *command, *asked, "--out", str(tmp_path / "run")))
    assert results["plain"]["base"]["accuracy"] > 0.8
    assert results["plain"]["tuned"]["accuracy"] < 0.2
    labels, both = results["conjugations"]
    assert (labels["name"], labels["exact"], labels["base"]["n"]) == ("french-labels", True, 30)
    assert both["name"] == "french-labels|leet"
    # What the page says of them: labels alone bring nothing back.
    assert labels["tuned"]["accuracy"] < 0.3
    assert both["tuned"]["accuracy"] > 0.8


def test_the_example_in_its_code_is_true(environment: dict[str, str]) -> None:
    _run(environment, "doctest", str(SOURCES / "palimpsest_example" / "french_labels.py"))


def test_the_laws_of_conjugations_hold_for_it(environment: dict[str, str]) -> None:
    tests = ["tests/laws", "-k", "french-labels", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    assert " passed" in _run(environment, "pytest", "--rootdir", str(ROOT), *tests)


def test_the_laws_of_distributions_hold_for_it(environment: dict[str, str]) -> None:
    laws = "tests/lab/problem/test_distribution_laws.py"
    options = ["-k", "corners", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    assert " passed" in _run(environment, "pytest", "--rootdir", str(ROOT), laws, *options)
    _run(environment, "doctest", str(SOURCES / "palimpsest_example" / "corners.py"))


TRAINED_ON_CORNERS = """
from palimpsest.lab.predictors.transformer import TransformerConfig
from palimpsest.lab.problem.problem import Problem
from palimpsest.lab.training.loop import Running, Training
from palimpsest.lab.training.train import pretrain

sizes = TransformerConfig(n_dims=2, n_points=5, width=8, n_layers=1, n_heads=2)
running = Running(on_progress=lambda progress: print(progress.excess), device="cpu")
training = Training(n_steps=2, batch_size=4)
pretrain(Problem(2, 2, 4), sizes, training, distribution="corners", running=running)
"""


def test_a_model_is_trained_on_its_distribution_and_told_its_excess(
    environment: dict[str, str],
) -> None:
    command = [sys.executable, "-c", TRAINED_ON_CORNERS]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len([float(line) for line in done.stdout.split()]) == 2
