"""The wheel in an empty environment does what the readme promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.release.environment import Environment

from palimpsest import __version__

pytestmark = pytest.mark.slow

CLIENT = """\
import palimpsest

results = palimpsest.diagnose(base="rosetta:base", tuned="rosetta:tuned", suite="rosetta")
reveal_type(results.plain.forgetting)
palimpsest.diagnose(base=1, tuned="rosetta:tuned", suite="rosetta")
palimpsest.diagnoze
leet = palimpsest.parse_conjugation("leet")
reveal_type(leet.invert)
"""


def test_it_is_the_installed_package_that_runs(environment: Environment, tmp_path: Path) -> None:
    code = "import palimpsest; print(palimpsest.__file__)"
    done = environment.run("python", "-c", code, cwd=tmp_path)
    assert Path(done.stdout.strip()) == environment.site / "palimpsest" / "__init__.py"
    assert not (environment.site / "palimpsest").is_symlink()
    done = environment.run("palimpsest", "--version", cwd=tmp_path)
    assert done.stdout.strip() == f"palimpsest {__version__}"


def test_the_demo_runs_without_a_network_and_finds_the_ability_suppressed(
    environment: Environment, tmp_path: Path
) -> None:
    done = environment.run("palimpsest", "demo", "--limit", "30", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("Note: ") for line in done.stderr.splitlines()), done.stderr
    folder = tmp_path / "palimpsest-demo"
    results = json.loads((folder / "results.json").read_text("utf-8"))
    assert results["verdict"] == "suppressed"
    assert (folder / "report.html").stat().st_size > 10_000
    assert not environment.connections.exists(), environment.connections.read_text("utf-8")


def test_a_connection_would_be_noticed(environment: Environment, tmp_path: Path) -> None:
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    done = environment.run("python", "-c", code, cwd=tmp_path)
    assert "This environment has no network." in done.stderr
    assert "127.0.0.1" in environment.connections.read_text("utf-8")
    environment.connections.unlink()


def test_the_weights_arrive_as_they_were_trained(environment: Environment, tmp_path: Path) -> None:
    done = environment.run("palimpsest", "rosetta", "check", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(environment.site) in done.stdout.replace("\n", "")


def test_what_needs_an_extra_names_it(environment: Environment, tmp_path: Path) -> None:
    done = environment.run("palimpsest", "serve", "--upstream", "rosetta:tuned", cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install 'starlette" in done.stderr


def test_its_types_help_those_who_use_it(environment: Environment, tmp_path: Path) -> None:
    client = tmp_path / "client.py"
    client.write_text(CLIENT, "utf-8")
    python = environment.folder / "bin" / "python"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, client.name],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    found = [line.removeprefix("client.py:") for line in done.stdout.splitlines()]
    assert done.stderr == ""
    assert [line.partition(":")[0] for line in found[:-1]] == ["4", "5", "6", "8"], done.stdout
    assert found[0] == '4: note: Revealed type is "float"'
    assert "[arg-type]" in found[1]
    assert "[attr-defined]" in found[2]
    assert found[3] == '8: note: Revealed type is "def (answer: str) -> str"'
