"""What the package says of itself is valid, and the same in every file that says it."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from typing import Any

import pytest
import yaml
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.release.conftest import ROOT, Built
from tests.release.environment import metadata_of

import palimpsest

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CITATION: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))


def test_every_file_names_the_same_version_and_licence() -> None:
    assert PROJECT["version"] == palimpsest.__version__ == CITATION["version"]
    assert PROJECT["license"] == CITATION["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")


def test_the_changelog_begins_with_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    first = re.search(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", text, re.MULTILINE)
    assert first is not None
    assert first[1] == PROJECT["version"]


def test_the_citation_has_what_version_1_2_of_its_format_requires() -> None:
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(CITATION)
    assert CITATION["type"] == "software"
    assert [author["name"] for author in CITATION["authors"]] == [
        author["name"] for author in PROJECT["authors"]
    ]
    for reference in CITATION["references"]:
        assert {"type", "title", "authors"} <= set(reference)
        for author in reference["authors"]:
            assert {"family-names", "given-names"} <= set(author)


def test_the_citation_names_the_paper_that_the_metadata_links() -> None:
    [paper] = CITATION["references"]
    [identifier] = paper["identifiers"]
    number = identifier["value"].removeprefix("arXiv:")
    assert PROJECT["urls"]["Paper"] == f"https://arxiv.org/abs/{number}"
    assert number in (ROOT / "README.md").read_text("utf-8")


def test_a_pinned_version_satisfies_every_requirement() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pairs}
    groups = (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for wanted in map(Requirement, chain.from_iterable(groups)):
        if wanted.name != PROJECT["name"]:
            assert pins[canonicalize_name(wanted.name)] in wanted.specifier, str(wanted)


@pytest.mark.slow
def test_the_metadata_are_valid_and_the_readme_is_the_description(built: Built) -> None:
    text = metadata_of(built.wheel).read_text("METADATA")
    assert text is not None
    said = Metadata.from_email(text, validate=True)  # raises for every invalid field
    assert said.name == PROJECT["name"]
    assert said.description_content_type == "text/markdown"
    assert said.description == (ROOT / "README.md").read_text("utf-8")
    assert said.license_expression == "Apache-2.0"
    assert said.license_files == ["LICENSE"]
    assert said.project_urls == PROJECT["urls"]
    assert set(said.provides_extra or ()) == set(PROJECT["optional-dependencies"])
