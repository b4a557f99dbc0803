import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("decisions/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text("utf-8")) if kind == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_the_pages_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_generated_pages_are_as_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "build.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_every_symbol_of_the_theory_has_its_name_in_its_file() -> None:
    rows = re.findall(r"^\|.*\| (.+?) \| (.+?) \|$", (ROOT / "docs/theory.md").read_text(), re.M)
    found = 0
    for names, files in rows:
        paths = re.findall(r"`([\w/]+\.py)`", files)
        code = "".join((ROOT / "src/palimpsest" / path).read_text("utf-8") for path in paths)
        for name in re.findall(r"`([A-Za-z_]\w+)", names) if paths else ():
            assert re.search(rf"\b{name}\b", code), f"{name} is not in {files}"
            found += 1
    assert found > 30


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    for block in _blocks(ROOT / "README.md", "python"):
        done = subprocess.run(
            [sys.executable, "-c", block],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_the_jsonl_of_the_readme_is_a_suite(tmp_path: Path) -> None:
    from palimpsest import load_suite

    [block] = _blocks(ROOT / "README.md", "json")
    path = tmp_path / "mine.jsonl"
    path.write_text(block, "utf-8")
    assert load_suite(f"jsonl:{path}").languages == ("en", "fr")


def test_every_command_in_the_readme_exists() -> None:
    from palimpsest.cli.main import app

    names = {command.name or "" for command in app.registered_commands}
    names |= {getattr(command.callback, "__name__", "") for command in app.registered_commands}
    names |= {group.name or "" for group in app.registered_groups}
    used = re.findall(r"^palimpsest (\w+)", "\n".join(_blocks(ROOT / "README.md", "bash")), re.M)
    assert used
    assert set(used) <= names


def test_the_changelog_names_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_schema_of_the_results_is_valid_json() -> None:
    schema = json.loads((ROOT / "docs" / "results.schema.json").read_text("utf-8"))
    assert {"schema", "plain", "conjugations", "cells", "verdict"} <= set(schema["required"]) | {
        "schema"
    }
