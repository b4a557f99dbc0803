import ast
import subprocess
import sys
from pathlib import Path

import pytest

import palimpsest

PACKAGE = Path(palimpsest.__file__).parent
HEAVY = ("torch", "transformers", "matplotlib", "pydantic", "numpy", "scipy", "rich.progress")

# What a part may import of the package, besides itself. `lm.analysis` and its kin are part of lm.
FOUNDATION = {"palimpsest", "palimpsest.errors", "palimpsest.registry", "palimpsest.conjugation"}
ALLOWED = {
    "errors": set[str](),
    "registry": {"palimpsest.errors"},
    "conjugation": set[str](),
    "stats": FOUNDATION,
    "records": FOUNDATION,
    "lm": FOUNDATION | {"palimpsest.stats", "palimpsest.records", "palimpsest.report"},
    "lab": FOUNDATION | {"palimpsest.stats", "palimpsest.records", "palimpsest.report"},
    "report": FOUNDATION | {"palimpsest.records"},
    "serve": FOUNDATION | {"palimpsest.lm"},
    "integrations": FOUNDATION | {"palimpsest.lm", "palimpsest.serve"},
    "cli": FOUNDATION
    | {"palimpsest.lm", "palimpsest.lab", "palimpsest.records", "palimpsest.report"}
    | {"palimpsest.serve"},
}


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] == "palimpsest"}


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not _part(path).startswith("__"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_imports_only_what_its_part_may(path: Path) -> None:
    part = _part(path)
    assert part in ALLOWED, f"the part '{part}' is not on the map in ARCHITECTURE.md"
    for name in _imports(path):
        target = ".".join(name.split(".")[:2])
        assert target == f"palimpsest.{part}" or target in ALLOWED[part], f"{path} imports {name}"


def test_suites_conjugations_and_models_know_nothing_of_what_stands_on_them() -> None:
    above = ("evaluate", "analysis", "pairing", "verdicts", "diagnose", "question")
    for part in ("suites", "conjugations", "models"):
        for path in (PACKAGE / "lm" / part).rglob("*.py"):
            assert not {f"palimpsest.lm.{name}" for name in above} & _imports(path), path


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
        if (n := len(path.read_text("utf-8").splitlines())) > 400
    }
    assert not long


def test_functions_stay_short() -> None:
    long = [
        f"{path.relative_to(PACKAGE)}:{node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and _n_lines(node) > 60
    ]
    assert not long


def _n_lines(node: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    assert node.end_lineno is not None
    docstring = node.body[0] if ast.get_docstring(node) else None
    n_docstring = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
    return node.end_lineno - node.lineno + 1 - n_docstring
