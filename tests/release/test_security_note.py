"""SECURITY.md promises nothing that no test holds."""

from __future__ import annotations

import ast
import re

import pytest
from tests.release.conftest import ROOT

TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and "| Held by |" not in line]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_every_promise_names_a_test_that_exists(row: str) -> None:
    found = re.search(r"\| `(tests/[\w/]+\.py)::(?:(\w+)::)?(test_\w+)` \|$", row)
    assert found is not None
    path, group, name = found.groups()
    tree: ast.AST = ast.parse((ROOT / path).read_text("utf-8"))
    if group is not None:
        [tree] = (
            node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == group
        )
    names = [node.name for node in ast.iter_child_nodes(tree) if isinstance(node, ast.FunctionDef)]
    assert name in names


def test_the_note_says_what_is_bound_sent_logged_loaded_executed_and_how_to_report() -> None:
    headings = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    assert headings == [
        "What is bound",
        "What is sent",
        "What is logged and kept",
        "What is loaded",
        "What is executed",
        "Keys",
        "Reporting a weakness",
    ]


def test_every_variable_with_a_secret_is_named() -> None:
    """A key that the code reads and the note does not know would be a promise that is not made."""
    read = set()
    for path in (ROOT / "src").rglob("*.py"):
        read |= set(re.findall(r'"([A-Z_]+_(?:KEY|TOKEN))"', path.read_text("utf-8")))
    assert read
    assert [name for name in sorted(read) if name not in TEXT] == []
