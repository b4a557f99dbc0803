"""The rooms of the laboratory import from those before them alone, and no modules in a circle."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import palimpsest

PACKAGE = Path(palimpsest.__file__).parent
ROOMS = ("checks", "streams", "predictors", "problem", "conjugations", "training", "measuring")
ORDER = (*ROOMS, "runs")
"""Each imports only from those before it; ``lab/README.md`` says the same in words."""


def _imports(path: Path) -> set[str]:
    """Return the modules of the package that a file imports from."""
    found = {
        node.module
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    return {name for name in found if name.startswith("palimpsest.")}


def _name(path: Path) -> str:
    return ".".join(("palimpsest", *path.relative_to(PACKAGE).with_suffix("").parts))


def test_every_room_imports_only_from_rooms_before_it() -> None:
    rooms = {path.stem for path in (PACKAGE / "lab").iterdir() if path.name[0] not in "_R"}
    assert rooms == set(ORDER)
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in sorted((PACKAGE / "lab").rglob("*.py"))
        if path.parent.name != "lab" or path.name != "__init__.py"  # the face of all
        for module in _imports(path)
        if module.startswith("palimpsest.lab.") and not _may(path, module.split(".")[2])
    ]
    assert not wrong


def _may(path: Path, room: str) -> bool:
    own = path.relative_to(PACKAGE / "lab").parts[0].removesuffix(".py")
    return own == room or (own != "__init__" and ORDER.index(room) < ORDER.index(own))


@pytest.mark.slow
def test_no_modules_import_each_other_in_a_circle() -> None:
    rooms = ("lab", "training", "engines", "rosetta")
    paths = [path for room in rooms for path in (PACKAGE / room).rglob("*.py")]
    graph = {_name(path): _imports(path) for path in paths if path.name != "__init__.py"}
    for module in graph:
        graph[module] &= graph.keys()
    assert list(TopologicalSorter(graph).static_order())
