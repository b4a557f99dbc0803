"""Every how-to page works: its commands run in one script, its Python afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
HERE_DOCUMENT = re.compile(
    r"^cat > (\S+\.(\w+)) <<'?([\w-]+)'?\n(.*?)^\3$", re.MULTILINE | re.DOTALL
)
TIMEOUT_SECONDS = 240

# What a page needs beyond the package: programs, and packages to import. Without one of them the
# page is skipped with the reason.
PROGRAMS = {
    "translate": ["apertium"],
    "serve": ["curl"],
    "endpoint": ["curl"],
    "promptfoo": ["curl", "promptfoo"],
    "garak": ["curl", "garak"],
    "litellm": ["curl"],
}
PACKAGES = {"litellm": ["litellm"]}


def script_of(page: Path) -> str:
    """Return the commands of a page, then its programs, as one script."""
    blocks = BLOCK.findall(page.read_text("utf-8"))
    lines = [body for kind, body in blocks if kind == "bash"]
    for number, body in enumerate(body for kind, body in blocks if kind == "python"):
        lines.append(f"cat > program-{number}.py <<'END-OF-PROGRAM'\n{body}END-OF-PROGRAM")
        lines.append(f"python program-{number}.py")
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    missing = [name for name in PROGRAMS.get(page.stem, []) if shutil.which(name) is None]
    missing += [name for name in PACKAGES.get(page.stem, []) if find_spec(name) is None]
    if missing:
        pytest.skip(f"the page needs {', '.join(missing)}, which is not installed")
    script = script_of(page)
    assert script, "a how-to page shows what to type"
    work = tmp_path / "work"
    work.mkdir()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "PROMPTFOO_CONFIG_DIR": str(tmp_path / "promptfoo"),
    }
    # Servers in the background inherit the output: a file does not wait for them as a pipe does.
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(TIMEOUT_SECONDS)
        finally:
            _kill_group(process)
    assert code == 0, (tmp_path / "output").read_text("utf-8", "replace")[-4000:]


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


READERS = {
    "json": json.loads,
    "jsonl": lambda text: [json.loads(line) for line in text.splitlines()],
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_page_writes_can_be_read_and_its_programs_compile(page: Path) -> None:
    """What a page without its program, and so never run here, can still be held to."""
    script = script_of(page)
    for name, kind, _, content in HERE_DOCUMENT.findall(script):
        if kind == "py":
            compile(content, name, "exec")
        elif kind in READERS:
            assert READERS[kind](content), name
    served = set(re.findall(r"--port[ =](\d+)", script))
    assert set(re.findall(r"localhost:(\d+)", script)) <= served


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [page.name for page in PAGES if f"how-to/{page.name}" not in readme] == []
