"""Tutorial, footguns and every how-to work: what they tell to type runs from top to bottom."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs.site.pages import Repository
from tests.doc_pages import ROOT, outputs_not_as_shown, run, script_of

HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
PAGES = [ROOT / "docs" / "tutorial.md", ROOT / "docs" / "footguns.md", *HOW_TO]

HERE_DOCUMENT = re.compile(
    r"^cat > (\S+\.(\w+)) <<'?([\w-]+)'?\n(.*?)^\3$", re.MULTILINE | re.DOTALL
)

# What a page needs beyond the package: programs, and packages to import. Without one of them the
# page is skipped with the reason.
PROGRAMS = {
    "translate": ["apertium"],
    "serve": ["curl"],
    "endpoint": ["curl"],
    "browse": ["curl"],
    "promptfoo": ["curl", "promptfoo"],
    "garak": ["curl", "garak"],
    "litellm": ["curl"],
}
PACKAGES = {"litellm": ["litellm"]}

# Pages whose blocks of text are what the command or program before them prints, but for "…".
SHOWN_AS_PRINTED = {"tutorial", "footguns"}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    missing = [name for name in PROGRAMS.get(page.stem, []) if shutil.which(name) is None]
    missing += [name for name in PACKAGES.get(page.stem, []) if find_spec(name) is None]
    if missing:
        pytest.skip(f"the page needs {', '.join(missing)}, which is not installed")
    script = script_of(page)
    assert script, "such a page shows what to type"
    code, output = run(script, tmp_path)
    assert code == 0, output[-4000:]
    if page.stem in SHOWN_AS_PRINTED:
        assert list(outputs_not_as_shown(page, output)) == []


READERS: dict[str, Callable[[str], Any]] = {
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


def test_the_readme_lists_every_how_to_below_its_job_as_the_site_does() -> None:
    listed: dict[str, list[str]] = {}
    _, _, table = (ROOT / "README.md").read_text("utf-8").partition("\n## How to\n")
    for job, page in re.findall(r"^\| (\w*) ?\| \[[\w-]+\]\((docs/how-to/\S+)\)", table, re.M):
        job = job or next(reversed(listed))
        listed.setdefault(job, []).append(page)
    jobs = Repository(ROOT).how_to()
    assert listed == {job: [str(path) for path in pages] for job, pages in jobs.items()}
    assert sum(map(len, listed.values())) == len(HOW_TO)


def test_output_that_is_not_as_a_page_shows_it_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\nprintf 'one \\ntwo\\nthree\\n'\n```\n\n```text\none\n…\nthree\n```\n\n"
        "```python\nprint('four')\n```\n\n```text\nfive\n```\n",
        "utf-8",
    )
    code, output = run(script_of(page), tmp_path)
    assert code == 0
    [wrong] = outputs_not_as_shown(page, output)
    assert wrong.startswith("shown:\nfive\n")
