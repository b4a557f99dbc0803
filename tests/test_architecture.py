import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import palimpsest

PACKAGE = Path(palimpsest.__file__).parent
HEAVY = ("torch", "transformers", "matplotlib", "pydantic", "numpy", "scipy", "rich.progress")

LAYERS = {
    "faces": "",
    "errors": "",
    "conjugation": "",
    "registry": "errors",
    "files": "errors",
    "specs": "errors registry",
    "stats": "errors registry conjugation",
    "records": "errors registry files stats",
    "report": "errors registry records stats",
    "engines": "errors registry records files",
    "training": "errors registry files records",
    "lm": "errors registry conjugation files specs stats records",
    "judging": "errors registry conjugation files specs stats records report engines lm",
    "families": "errors registry files specs stats records report engines training lm judging",
    "lab": "errors registry conjugation files specs stats records report engines training",
    "rosetta": "errors registry files specs stats records report training lm judging",
    "serve": "errors registry conjugation files specs records lm judging",
    "browse": "errors files records serve",
    "integrations": "errors registry conjugation files specs stats records report lm judging "
    "families",
    "cli": "errors registry conjugation files specs stats records report engines training lm "
    "judging families lab rosetta serve browse integrations",
}
"""Each room of the package and the rooms that it may import from: the arrows of ARCHITECTURE.md.
Every room stands below those that name it, so that there are no circles."""


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Return the rooms that a file imports from."""
    found: set[str] = set()
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "palimpsest":
            found |= {f"palimpsest.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    parts = [name.split(".") for name in found]
    return {part[1] for part in parts if part[0] == "palimpsest" and len(part) > 1}


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not _room(path).startswith("__"))


def test_all_arrows_run_down() -> None:
    rooms = list(LAYERS)
    for room, below in LAYERS.items():
        assert set(below.split()) <= set(rooms[: rooms.index(room)]), room


def test_the_map_shows_the_layers() -> None:
    page = (PACKAGE.parents[1] / "ARCHITECTURE.md").read_text("utf-8")
    block = page.partition("## Layers")[2].split("```")[1].strip()
    shown = dict(line.split(maxsplit=1) for line in block.splitlines())
    assert shown == {room: below or "–" for room, below in LAYERS.items()}


def test_every_module_imports_only_what_its_room_may() -> None:
    wrong = {
        f"{path.relative_to(PACKAGE)} imports {room}"
        for path in MODULES
        for room in _imports(path) - {_room(path), "__version__", "faces"}
        if room not in LAYERS[_room(path)].split()
    }
    assert not wrong


@pytest.mark.slow
def test_importing_the_package_and_its_command_loads_nothing_heavy() -> None:
    code = (
        "import sys, palimpsest, palimpsest.cli.main, palimpsest.conjugation\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_files_stay_readable() -> None:
    long = {
        str(path.relative_to(PACKAGE)): n
        for path in MODULES
        if (n := len(path.read_text("utf-8").splitlines())) > 600
    }
    assert not long


@pytest.mark.slow
def test_functions_stay_short() -> None:
    long = [
        f"{path.relative_to(PACKAGE)}:{node.name}"
        for path in MODULES
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.FunctionDef) and _n_lines(node) > 60
    ]
    assert not long


def _n_lines(node: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    assert node.end_lineno is not None
    docstring = node.body[0] if ast.get_docstring(node) else None
    n_docstring = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
    return node.end_lineno - node.lineno + 1 - n_docstring


PACKAGES = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))


def _dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("package", PACKAGES, ids=_dotted)
def test_every_package_names_its_public_face(package: Path) -> None:
    module = import_module(_dotted(package))
    face = getattr(module, "__all__", [])
    own = {path.stem for path in package.iterdir()}
    assert not own & set(face), "a module of that name would hide it"
    assert all(getattr(module, name) is not None for name in face)
    assert len(face) == len(set(face))


@pytest.mark.slow
def test_imports_across_packages_go_through_the_face() -> None:
    packages = {_dotted(package) for package in PACKAGES}
    modules = {_dotted(path) for path in PACKAGE.rglob("*.py")}
    wrong: list[str] = []
    for path in MODULES:
        here = _dotted(path if path.stem == "__init__" else path.parent)
        for node in ast.walk(_parsed(path)):
            if not isinstance(node, ast.ImportFrom) or node.module not in modules:
                continue
            home = node.module if node.module in packages else node.module.rpartition(".")[0]
            if f"{here}.".startswith(f"{home}."):
                continue
            face = getattr(import_module(home), "__all__", ())
            names = [alias.name for alias in node.names]
            if node.module != home or not set(names) <= set(face):
                wrong.append(f"{_dotted(path)}: from {node.module} import {', '.join(names)}")
    assert not wrong


POSTPONING = {"what", "how", "which", "where", "when", "who", "why", "whether", "this", "here"}


def test_every_module_says_what_it_is_and_begins_with_it() -> None:
    wrong = []
    for path in MODULES:
        first = (ast.get_docstring(_parsed(path)) or "").split("\n")[0]
        if not first.endswith(".") or first.split()[0].lower() in POSTPONING:
            wrong.append(f"{path.relative_to(PACKAGE)}: {first}")
    assert not wrong


@pytest.mark.slow
def test_one_class_name_is_one_thing() -> None:
    names = [
        node.name
        for path in MODULES
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [name for name, n in Counter(names).items() if n > 1] == []
