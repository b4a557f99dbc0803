"""How to install is said in one place, and is true before there is a release."""

from __future__ import annotations

import re
import tomllib

import pytest
from tests.doc_pages import PAGES, ROOT, name_of

from palimpsest.errors import install_command

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CODE = sorted((ROOT / "src" / "palimpsest").rglob("*.py"))


def test_nothing_tells_to_install_what_no_index_has() -> None:
    asking = re.compile(r"pip install (?:-\S+ )*'?palimpsest.lm(?!\S*\.whl)")
    found = {
        name_of(path) for path in [*PAGES, *CODE] if asking.search(path.read_text("utf-8"))
    } - {"docs/install.md"}  # which says that it finds nothing
    assert found == set()


@pytest.mark.parametrize("extra", [extra for extra in EXTRAS if extra != "dev"])
def test_the_command_for_an_extra_names_its_packages(extra: str) -> None:
    command = install_command(extra)
    for requirement in EXTRAS[extra]:
        name = re.match(r"\w+(?:[-_]\w+)*", requirement)
        assert name is not None
        assert name[0].replace("_", "-") in command.replace("_", "-")
        assert ".[" not in command


def test_an_extra_that_the_installed_package_does_not_know_is_taken_from_the_checkout() -> None:
    assert install_command("newer") == "pip install '.[newer]'"


def test_every_extra_that_is_named_exists() -> None:
    named = re.compile(r"(?:package=[^()]*,\s*extra=|install_command\()[\"']([\w-]+)[\"']")
    code = {name for path in CODE for name in named.findall(path.read_text("utf-8"))}
    pages = {
        name
        for path in PAGES
        for text in [path.read_text("utf-8")]
        for names in re.findall(r"extra `([\w-]+)`|\.(?:whl)?\[([\w,-]+)\]'", text)
        for name in ",".join(names).split(",")
        if name
    }
    assert {"serve", "peft", "trainer"} <= code
    assert {"serve", "inspect", "parquet"} <= pages
    assert code | pages <= set(EXTRAS)


def test_the_install_page_lists_every_extra() -> None:
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    assert [extra for extra in EXTRAS if f"`{extra}`" not in page] == []
    assert PROJECT["requires-python"].removeprefix(">=") in page
    assert f"palimpsest_lm-{PROJECT['version']}-" in page
