"""Every test can fail: it asserts, expects an error, or calls a function of the tests that does."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECKS = ("assert", "expect", "raises", "warns", "fail", "check_")
"""How the names of functions that assert begin, wherever they are from."""


class Module:
    """The functions of a file of the tests by name, and what it imports from other such files."""

    def __init__(self, path: Path) -> None:
        self.functions: dict[str, ast.AST] = {}
        self.imported: dict[str, tuple[Path, str]] = {}
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.functions.setdefault(node.targets[0].id, node)  # close = partial(assert_close)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
                home = ROOT.joinpath(*str(node.module).split(".")).with_suffix(".py")
                self.imported |= {
                    alias.asname or alias.name: (home, alias.name) for alias in node.names
                }


module = cache(Module)


KNOWN: dict[tuple[Path, str], bool] = {}


def asserts(path: Path, name: str) -> bool:
    """Whether a function of a file asserts, itself or by one that it names."""
    if (path, name) not in KNOWN:
        KNOWN[path, name] = False  # where it names itself
        KNOWN[path, name] = path.exists() and _asserts(path, name)
    return KNOWN[path, name]


def _asserts(path: Path, name: str) -> bool:
    found = module(path)
    if name in found.imported:
        return asserts(*found.imported[name])
    for node in ast.walk(found.functions.get(name, ast.Pass())):
        match node:
            case ast.Assert():
                return True
            case ast.Attribute(attr=other) | ast.Name(id=other) if other.startswith(CHECKS):
                return True
            case ast.Name(id=other) if asserts(path, other):
                return True
    return False


def without(paths: Iterable[Path]) -> list[str]:
    """Return the tests that cannot fail."""
    return [
        f"{path}: {name}"
        for path in paths
        for name in module(path).functions
        if name.startswith("test_") and not asserts(path, name)
    ]


@pytest.mark.slow
def test_every_test_can_fail() -> None:
    assert not without((ROOT / "tests").rglob("test_*.py"))


def test_a_test_that_cannot_fail_is_found(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text("def test_it():\n    helper()\n\n\ndef helper():\n    print(1)\n", "utf-8")
    assert without([path]) == [f"{path}: test_it"]
